/** Characters: of the 64 of base64, 96 bits. */
const MIN_SECRET = 16;

export function isSecret(secret: unknown): boolean {
  const secrets = [secret].flat();
  return secrets.length > 0 && secrets.every(one => typeof one === 'string' && one !== '');
}

/** The values are not shown: one of them may be right. */
export const checkSecret = (secret: unknown): string | undefined =>
  isSecret(secret)
    ? undefined
    : 'must be a non-empty string, or a non-empty array of them; is an environment variable unset?';

/** @returns a warning, if one of the secrets can be guessed */
export const warnOfShortSecret = (secrets: string[]): string[] =>
  secrets.some(one => one.length < MIN_SECRET)
    ? [
        `The option secret holds one of fewer than ${MIN_SECRET} characters: whoever has a cookie can find it by ` +
          `trying, and sign cookies. Make one with: openssl rand -base64 32`,
      ]
    : [];

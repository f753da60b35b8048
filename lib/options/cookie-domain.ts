const HOST_NAME = /^\.?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i;

/** Whether a value can stand as the Domain of a `Set-Cookie` header. */
export function isHostName(value: unknown): value is string {
  return typeof value === 'string' && HOST_NAME.test(value);
}

/** A domain such as `com`, for which browsers take no cookies. */
export function isTopLevelDomain(domain: string): boolean {
  const name = plainDomain(domain);
  return !name.includes('.') && name !== 'localhost';
}

/** As browsers compare them: in any case, with or without a dot ahead. An empty one is none. */
export function isSameDomain(a: string | undefined, b: string | undefined): boolean {
  return plainDomain(a ?? '') === plainDomain(b ?? '');
}

const plainDomain = (domain: string): string => domain.replace(/^\./, '').toLowerCase();

/**
 * Any text as one that each database takes, and gives back: PostgreSQL's holds no zero character, and in UTF-8 there is no
 * half of a surrogate pair. Those are escaped, and so is the escape.
 */
export const toText = (value: string): string =>
  value
    .replaceAll('\\', '\\\\')
    .replaceAll('\0', '\\0')
    .replaceAll(/\p{Surrogate}/gu, half => `\\u${half.charCodeAt(0).toString(16)}`);

export const fromText = (text: string): string =>
  text.replaceAll(/\\(?:u([\da-f]{4})|(.))/gs, (_, code?: string, escaped?: string) =>
    code ? String.fromCharCode(Number.parseInt(code, 16)) : escaped === '0' ? '\0' : escaped!,
  );

/**
 * Printable ASCII without a space, a semicolon or a comma: nothing that ends the attribute or the header. Nor
 * `<`, which the package `cookie` refuses.
 */
const COOKIE_PATH = /^\/[\x21-\x2b\x2d-\x3a\x3d-\x7e]*$/;

/** Whether a value can stand as the Path of a `Set-Cookie` header. */
export function isCookiePath(value: unknown): value is string {
  return typeof value === 'string' && value.length <= 1024 && COOKIE_PATH.test(value);
}

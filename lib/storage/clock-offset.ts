/** Milliseconds by which clocks differ before it counts: less is the way to the server, and rounding. */
export const SAME_TIME = 5_000;

/**
 * Milliseconds by which the server's clock is ahead of this process', as far as it counts.
 * @param now of the server, milliseconds since 1970
 */
export function clockOffset(now: number): number {
  const ahead = now - Date.now();
  return Math.abs(ahead) > SAME_TIME ? ahead : 0;
}

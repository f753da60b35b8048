import { inspect } from 'node:util';

/** A value in a message: on one line, and also what JSON cannot show. */
export const show = (value: unknown): string =>
  value instanceof Error ? String(value) : inspect(value, { depth: 1, breakLength: Infinity });

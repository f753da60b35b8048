import { randomBytes } from 'node:crypto';
import { show } from './show.js';

const ID_SHAPE = /^[A-Za-z0-9\-_.~]{16,256}$/;

/** 256 random bits, base64url: 43 characters. */
export const generateSessionId = (): string => randomBytes(32).toString('base64url');

export function checkGenerateId(generateId: unknown): string | undefined {
  if (typeof generateId !== 'function') {
    return `must be a function that returns a string, not ${show(generateId)}`;
  }
  let ids: unknown[];
  try {
    ids = [generateId(), generateId()];
  } catch (error) {
    return `threw ${show(error)}; it must return a string`;
  }
  if (ids.some(id => typeof id !== 'string' || !ID_SHAPE.test(id))) {
    return `must return 16 to 256 characters of A-Z a-z 0-9 - _ . ~`;
  }
  return ids[0] === ids[1]
    ? `returned the same id twice; ids must be random, e.g. from crypto.randomBytes(32)`
    : undefined;
}

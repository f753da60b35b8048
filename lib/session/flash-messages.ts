import { isPlainObject } from '../options/plain-json.js';
import { setValue } from './live-values.js';
import type { Values } from './session-codec.js';

/** Where connect-flash and @fastify/flash keep theirs, too. */
const FLASH = 'flash';

/** @throws TypeError if the application keeps something else there */
export function addFlash(values: Values, key: string, message: unknown): void {
  const kept = flashesIn(values);
  const before = Object.hasOwn(kept, key) ? kept[key]! : [];
  setValue(values, FLASH, { ...kept, [key]: [...before, message] });
}

/** Removes the messages of a key. @returns them, oldest first @throws TypeError, too */
export function takeFlashes(values: Values, key: string): unknown[] {
  const kept = flashesIn(values);
  if (!Object.hasOwn(kept, key)) {
    return [];
  }
  const { [key]: messages, ...others } = kept;
  if (Object.keys(others).length > 0) {
    setValue(values, FLASH, others);
  } else {
    delete values[FLASH];
  }
  return messages!;
}

function flashesIn(values: Values): Record<string, unknown[]> {
  const kept: unknown = Object.hasOwn(values, FLASH) ? values[FLASH] : {};
  const isKept = typeof kept === 'object' && kept !== null && isPlainObject(kept);
  if (!isKept || !Object.values(kept).every(Array.isArray)) {
    throw new TypeError(
      "session.flash() keeps its messages under the key 'flash', which holds other data; use another key for that",
    );
  }
  return kept as Record<string, unknown[]>;
}

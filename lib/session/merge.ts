import type { SessionSerializer } from '../options/session-options.js';

type Values = Record<string, unknown>;

/** What one request did to a session, key by key: to be applied to what others stored meanwhile. */
export interface KeyChanges {
  set: [key: string, value: unknown][];
  deleted: string[];
}

/** Compares by the serialized form, so that a change at any depth counts. */
export function findChanges(before: Values, after: Values, serializer: SessionSerializer): KeyChanges {
  const changed = (key: string) =>
    !Object.hasOwn(before, key) || textOf(before, key, serializer) !== textOf(after, key, serializer);
  return {
    set: Object.keys(after)
      .filter(changed)
      .map(key => [key, after[key]]),
    deleted: Object.keys(before).filter(key => !Object.hasOwn(after, key)),
  };
}

/** Puts fresh values and the changes into an object that the application may hold a reference to. */
export function replaceValues(target: Values, fresh: Values, changes?: KeyChanges): void {
  for (const key of Object.keys(target)) {
    delete target[key];
  }
  for (const [key, value] of [...Object.entries(fresh), ...(changes?.set ?? [])]) {
    Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
  }
  for (const key of changes?.deleted ?? []) {
    delete target[key];
  }
}

const textOf = (values: Values, key: string, serializer: SessionSerializer): string =>
  serializer.stringify(Object.fromEntries([[key, values[key]]]));

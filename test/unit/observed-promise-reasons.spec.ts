import { describe, expect, it } from 'vitest';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ObservedPromise } from '../../lib/session/observed-promise.js';
import { watchRejections } from '../support/unhandled.js';

/** Serializers, listeners and callbacks may throw what is no error. */
const REASONS = [new Error('down'), 'down', undefined, null, 0, Symbol('down')];

describe('what the application gets from a call', () => {
  watchRejections();

  it.each(REASONS)('rejects with %s, as it was', async reason => {
    const call = ObservedPromise.of(Promise.reject(reason));
    await expect(call.then(() => 'stored').catch((error: unknown) => ({ error }))).resolves.toEqual({
      error: reason,
    });
    expect(call.isObserved).toBe(true);
  });

  it.each(REASONS)('nobody awaits it: %s is not unhandled, and known not to be heard', async reason => {
    const call = ObservedPromise.of(Promise.reject(reason));
    void call.then(() => undefined).finally(() => undefined);
    await nextTurn();
    expect(call.isObserved).toBe(false);
  });
});

describe('what a callback of the application throws', () => {
  it.each(REASONS)('is its own affair: %s is unhandled', async reason => {
    const unhandled: unknown[] = [];
    const others = process.listeners('unhandledRejection');
    process.removeAllListeners('unhandledRejection');
    process.on('unhandledRejection', error => unhandled.push(error));
    try {
      void ObservedPromise.of(Promise.resolve()).then(() => {
        throw reason;
      });
      await nextTurn();
    } finally {
      process.removeAllListeners('unhandledRejection');
      others.forEach(other => process.on('unhandledRejection', other));
    }
    expect(unhandled).toEqual([reason]);
  });
});

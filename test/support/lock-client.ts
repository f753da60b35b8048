import { SessionRequestClosedException } from 'nest-sessions';
import type { HeldLock } from '../../lib/locking/held-lock.js';
import type { LockOutcome } from '../../lib/locking/key-queue.js';
import type { LockClient } from '../../lib/locking/waiter.js';

/** A client that goes away when the controller is aborted. */
export function clientOf({ signal }: AbortController): LockClient {
  const client = {
    cancelWait: undefined as (() => void) | undefined,
    get givenUp() {
      return signal.aborted ? new SessionRequestClosedException() : undefined;
    },
  };
  signal.addEventListener('abort', () => client.cancelWait?.());
  return client;
}

/** The lock, where there must be one. */
export async function lockOf(acquired: Promise<LockOutcome>): Promise<HeldLock> {
  const outcome = await acquired;
  if (typeof outcome === 'string') {
    throw new Error(`There is no session to lock: ${outcome}`);
  }
  return outcome;
}

import type { LockClient } from '../../lib/storage/lock-line.js';

/** A client that goes away when the controller is aborted. */
export const clientOf = ({ signal }: AbortController): LockClient => ({
  get isGone() {
    return signal.aborted;
  },
  goneSignal: signal,
});

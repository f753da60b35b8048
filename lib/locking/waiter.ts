import { SessionLockTimeoutException } from '../exceptions/session.exception.js';

/** The longest delay that a Node.js timer takes, in milliseconds: a longer one is none. */
const MAX_TIMER = 2 ** 31 - 1;

/** Whoever asks for a lock: a session in use. */
export interface LockClient {
  /** Why it does not want the lock any more: nothing is waited for then. */
  readonly givenUp: Error | undefined;
  /** Ends its wait at once; set while it waits. */
  cancelWait: (() => void) | undefined;
}

export interface LockWait {
  /** Milliseconds to wait at most. */
  waitMs: number;
  client?: LockClient | undefined;
}

/** One that waits until it is served, its time is over, or its client gives up: whichever comes first. */
export interface Waiter<T> {
  readonly served: Promise<T>;
  resolve(value: T): void;
  reject(error: unknown): void;
}

/**
 * @param onLeave called when it ends
 * @param timeUp what happens when its time is over; default: it rejects with SessionLockTimeoutException
 */
export function startWait<T>(
  { waitMs, client }: LockWait,
  onLeave?: () => void,
  timeUp: (waiter: Omit<Waiter<T>, 'served'>) => void = ({ reject }) =>
    reject(new SessionLockTimeoutException()),
): Waiter<T> {
  let waiter!: Omit<Waiter<T>, 'served'>;
  const served = new Promise<T>((resolve, reject) => {
    const leave = () => {
      clearTimeout(timer);
      onLeave?.();
      setCancel(client, undefined);
    };
    waiter = {
      resolve: value => (leave(), resolve(value)),
      reject: error => (leave(), reject(error)),
    };
    const timer = setTimeout(() => timeUp(waiter), Math.min(waitMs, MAX_TIMER));
    setCancel(client, () => waiter.reject(client!.givenUp));
  });
  return { ...waiter, served };
}

/** Waits. @throws why the client gave up, at once */
export function pause(waitMs: number, client: LockClient | undefined): Promise<void> {
  return startWait<void>({ waitMs, client }, undefined, ({ resolve }) => resolve()).served;
}

function setCancel(client: LockClient | undefined, cancel: (() => void) | undefined): void {
  if (client) {
    client.cancelWait = cancel;
  }
}

import type { SessionWrite } from './session-backend.js';

interface NextSave {
  write: SessionWrite;
  unlock: boolean;
  done: Promise<boolean>;
}

/**
 * The saves of one lease, that its holders hand over to each other before they are stored: one at a time is under
 * way. Of those that are asked for meanwhile the last one is stored, for all: each builds on the one before.
 * After one that failed, or was refused, all others end like it.
 */
export class SaveChain {
  /** Whether one failed or was refused. */
  isBroken = false;
  private running: Promise<boolean> | undefined;
  private next: NextSave | undefined;

  /** @param store resolves to whether it is stored */
  constructor(private readonly store: (write: SessionWrite, unlock: boolean) => Promise<boolean>) {}

  /** Ends with the last save that was asked for; undefined if all are stored. */
  get unsettled(): Promise<boolean> | undefined {
    return this.next?.done ?? this.running;
  }

  /** @returns whether this, or a later one that builds on it, is stored */
  add(write: SessionWrite, unlock: boolean): Promise<boolean> {
    if (!this.running) {
      return this.run(write, unlock);
    }
    if (this.next) {
      Object.assign(this.next, { write, unlock });
      return this.next.done;
    }
    const next: NextSave = {
      write,
      unlock,
      done: this.running.then(stored => {
        this.next = undefined;
        return stored && this.run(next.write, next.unlock);
      }),
    };
    this.next = next;
    return next.done;
  }

  private run(write: SessionWrite, unlock: boolean): Promise<boolean> {
    this.running = this.store(write, unlock).then(
      stored => {
        this.isBroken = !stored;
        if (stored && !this.next) {
          this.running = undefined;
        }
        return stored;
      },
      error => {
        this.isBroken = true;
        throw error;
      },
    );
    return this.running;
  }
}

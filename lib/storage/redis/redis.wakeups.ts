import { Logger } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '../describe-error.js';
import type { RedisCommands } from './redis.client.js';

/** Milliseconds that a busy answer waits for the subscription; without it, whoever waits tries again after seconds. */
const PATIENCE = 1_000;
/** Milliseconds after which a subscription that failed may be tried again. */
const AGAIN = 5_000;
/** Milliseconds: the longest delay of a timer. */
const MAX_TIMER = 2 ** 31 - 2;

/**
 * Hears of locks that were freed. One subscription a process, made when somebody waits for the first time: most
 * processes of most applications wait seldom.
 */
export class RedisWakeups {
  private readonly logger = new Logger('SessionRedisBackend');
  private listener: ((key: string) => void) | undefined;
  private subscription: Promise<void> | undefined;
  private unsubscribe: (() => unknown) | undefined;
  /** For locks that were found busy. */
  private readonly lapses = new Map<string, NodeJS.Timeout>();
  private retry: NodeJS.Timeout | undefined;
  private isClosed = false;
  private hasFailed = false;

  constructor(
    private readonly commands: RedisCommands,
    private readonly channel: string,
  ) {}

  /** @param listener is told the key of a lock that was freed, by any process */
  listen(listener: (key: string) => void): void {
    this.listener = listener;
  }

  /**
   * From when this resolves, no word of a lock that was found busy after it is missed; but for trouble. A holder that has
   * died says nothing: its lock is told of when it lapses.
   * @param lapsesIn milliseconds, if the lock is not renewed
   */
  async readyFor(key: string, lapsesIn: number): Promise<void> {
    const { listener } = this;
    if (listener && !this.isClosed) {
      clearTimeout(this.lapses.get(key));
      const onLapse = () => {
        this.lapses.delete(key);
        listener(key);
      };
      this.lapses.set(key, setTimeout(onLapse, Math.min(lapsesIn, MAX_TIMER) + 1).unref());
      this.subscription ??= this.subscribe(listener);
      await Promise.race([this.subscription, sleep(PATIENCE, undefined, { ref: false })]);
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
    clearTimeout(this.retry);
    this.lapses.forEach(timer => clearTimeout(timer));
    await this.end();
  }

  private async subscribe(listener: (key: string) => void): Promise<void> {
    try {
      this.unsubscribe = await this.commands.subscribe(this.channel, listener);
      if (this.isClosed) {
        await this.end();
      }
    } catch (error) {
      if (!this.hasFailed && !this.isClosed) {
        this.hasFailed = true;
        this.logger.warn(
          `Redis does not tell when locks are freed, so that waiting for one takes up to 3 s longer: ${describeError(error)}; ` +
            `let the user subscribe to the channel ${this.channel}`,
        );
      }
      this.retry = setTimeout(() => (this.subscription = undefined), AGAIN).unref();
    }
  }

  private async end(): Promise<void> {
    try {
      await this.unsubscribe?.();
    } catch {
      // the connection is gone, and the subscription with it
    }
    this.unsubscribe = undefined;
  }
}

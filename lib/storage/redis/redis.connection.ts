import { UnsentRequestException } from '../unsent-request.exception.js';
import type { RedisCommands, SendCommand } from './redis.client.js';
import type { RedisScript } from './redis.scripts.js';

/** What the server says where it has not begun with a command. A script says it of its first one. */
const REFUSED =
  /(^|[\s:-])(LOADING|READONLY|OOM|BUSY|NOPERM|NOAUTH|WRONGPASS|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|MISCONF|NOREPLICAS)\s/;

/** The way to the servers: runs scripts, and says of a failure whether anything can have been done. */
export class RedisConnection {
  constructor(readonly commands: RedisCommands) {}

  /** @param key that the script works on */
  async run(script: RedisScript, key: string, ...args: string[]): Promise<unknown> {
    try {
      return await this.send(key, ['EVALSHA', script.sha, '1', key, ...args]);
    } catch (error) {
      if (!String(error).includes('NOSCRIPT')) {
        throw error;
      }
      return this.send(key, ['EVAL', script.text, '1', key, ...args]); // it was refused before it did anything
    }
  }

  /** @param key that the command is about */
  async send(key: string, args: string[]): Promise<unknown> {
    this.requireReady();
    try {
      return await this.commands.send(key, args);
    } catch (error) {
      throw REFUSED.test(`${String((error as Error)?.message)} `)
        ? new UnsentRequestException((error as Error).message, { cause: error })
        : error;
    }
  }

  masters(): Promise<SendCommand[]> {
    this.requireReady();
    return this.commands.masters();
  }

  /** A client may keep what it cannot send for later, when everybody has been told that it failed. */
  private requireReady(): void {
    if (!this.commands.isReady) {
      throw new UnsentRequestException('there is no connection to Redis');
    }
  }
}

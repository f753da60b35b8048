import { Logger } from '@nestjs/common';
import { LRUCache } from 'lru-cache';

/** Keys that are remembered. */
const MAX_KEYS = 1_000;

/** Tells of records that are damaged or planted, of each once: a client can ask for the same one as often as it likes. */
export class DamageLog {
  private readonly logger: Logger;
  private readonly told = new LRUCache<string, true>({ max: MAX_KEYS });

  /** @param context that the log names */
  constructor(context: string) {
    this.logger = new Logger(context);
  }

  warn(key: string, text: string): void {
    if (!this.told.has(key)) {
      this.told.set(key, true);
      this.logger.warn(text);
    }
  }
}

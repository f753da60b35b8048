import type { LoggerService } from '@nestjs/common';
import { inspect } from 'node:util';

/** An application's logger that keeps what it is given. */
export class RecordingLogger implements LoggerService {
  /** What would bother somebody: all levels but debug and verbose. */
  readonly aboveDebug: string[] = [];
  readonly debugged: string[] = [];

  log = (...args: unknown[]) => this.record(this.aboveDebug, args);
  fatal = this.log;
  error = this.log;
  warn = this.log;
  debug = (...args: unknown[]) => this.record(this.debugged, args);
  verbose = this.debug;

  forget(): void {
    this.aboveDebug.length = 0;
    this.debugged.length = 0;
  }

  private record(lines: string[], args: unknown[]): void {
    lines.push(args.map(arg => (typeof arg === 'string' ? arg : inspect(arg))).join(' '));
  }
}

import type * as fc from 'fast-check';
import { RamBackend } from '../../lib/storage/ram/ram.backend.js';
import type { SessionBackend } from 'nest-sessions';
import type { Trouble } from './troubled-backend.js';

/**
 * A storage whose calls go out, and come back, when the scheduler says so; the first of them in the way the troubles say.
 * Unlocking never fails: that it is tried again, later, has tests of its own.
 */
export class ScheduledBackend {
  /** What is stored, to be looked at without a wait. */
  readonly ram = new RamBackend(1000);
  readonly created = new Set<string>();
  /** The keys of the records that were removed, known or not. */
  readonly removed = new Set<string>();
  /** Those whose removal was acknowledged. */
  readonly dead = new Set<string>();
  /** How many of its calls failed, by their name. */
  readonly failed: Record<string, number> = {};
  readonly backend: SessionBackend;
  isReliable = false;

  constructor(
    private readonly scheduler: fc.Scheduler,
    private readonly troubles: (Trouble | 'none')[],
  ) {
    this.backend = new Proxy(this.ram, {
      get: (ram, property) => {
        const member: unknown = Reflect.get(ram, property);
        return typeof member === 'function'
          ? (...args: unknown[]) => this.run(String(property), args, member as never)
          : member;
      },
    });
  }

  private async run(name: string, args: unknown[], member: (...args: unknown[]) => Promise<unknown>) {
    const trouble = this.isReliable || name === 'unlock' ? 'none' : (this.troubles.shift() ?? 'none');
    const key = String(args[0]).slice(0, 4);
    if (name === 'create') {
      this.created.add(args[0] as string);
    }
    await this.scheduler.schedule(Promise.resolve(), `${name} ${key} goes out: ${trouble}`);
    const result = trouble === 'refused' ? undefined : await member.apply(this.ram, args);
    if (name === 'delete' && result === true) {
      this.removed.add(String(args[0]));
    }
    await this.scheduler.schedule(Promise.resolve(), `${name} ${key} comes back`);
    if (trouble !== 'none') {
      this.failed[name] = (this.failed[name] ?? 0) + 1;
      throw new Error(`The storage fails to ${name}: ${trouble}`);
    }
    if (this.removed.has(String(args[0])) && name === 'delete') {
      this.dead.add(String(args[0]));
    }
    return result;
  }
}

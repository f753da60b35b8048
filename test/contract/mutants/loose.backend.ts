import type { Lease, SessionRecord, SessionWrite } from 'nest-sessions';
import { RamBackend } from '../../../lib/storage/ram/ram.backend.js';

/** Knows who holds each lock, so that a mutant can take it away. */
export class LooseBackend extends RamBackend {
  private readonly holders = new Map<string, Lease>();

  override async lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
    const result = await super.lock(key, lease);
    if (result && result !== 'busy') {
      this.holders.set(key, lease);
    }
    return result;
  }

  override async create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
    const created = await super.create(key, write, lease);
    if (created && lease) {
      this.holders.set(key, lease);
    }
    return created;
  }

  /** @returns the lease of who locked it last, or else the other */
  protected holder(key: string, other: Lease): Lease {
    return this.holders.get(key) ?? other;
  }

  protected async steal(key: string, lease: Lease): Promise<void> {
    await super.unlock(key, this.holder(key, lease));
    await this.lock(key, lease);
  }
}

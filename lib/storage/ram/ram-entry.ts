import type { SessionRecord } from '../session-backend.js';
import type { Ordered } from './use-order.js';

/** A session in memory, with its lock and its place in an order of use. */
export interface RamEntry extends SessionRecord, Ordered<RamEntry> {
  readonly key: string;
  leaseToken: string | undefined;
  /** When the lease lapses, milliseconds since 1970. */
  leasedUntil: number;
}

export const isLeased = (entry: RamEntry): boolean =>
  entry.leaseToken !== undefined && entry.leasedUntil > Date.now();

export const toRecord = (entry: RamEntry): SessionRecord => ({
  data: entry.data,
  owner: entry.owner,
  timeout: entry.timeout,
  persistent: entry.persistent,
  createdAt: entry.createdAt,
  expiresAt: entry.expiresAt,
  lastUsedAt: entry.lastUsedAt,
});

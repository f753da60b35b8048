import { RecordFormatException, unlessLater } from '../record-format.js';
import type { OwnerSelection, SessionBackend, StoredRecord } from '../session-backend.js';
import type { OwnerIndex } from './owner-index.js';

/** Sessions of an owner that are removed at a time. */
const REMOVED_TOGETHER = 100;

/** The sessions of an owner: what the hints lead to, and what the records say. */
export class FileOwners {
  constructor(
    private readonly hints: OwnerIndex,
    private readonly backend: Pick<SessionBackend, 'read' | 'delete'>,
  ) {}

  async find(owner: string): Promise<StoredRecord[]> {
    const found: StoredRecord[] = [];
    for (const key of await this.hints.keysOf(owner)) {
      const record = await unlessLater(this.backend.read(key));
      if (record?.owner === owner) {
        found.push({ key, record });
      }
    }
    return found.sort((a, b) => a.record.createdAt - b.record.createdAt);
  }

  async delete(owner: string, options: OwnerSelection = {}): Promise<number> {
    let removed = 0;
    let known = '';
    // A session that gets a new key is there under one of two at least. It is missed in no two rounds in a row that find
    // nothing while no hint of a new key comes: hints come before the records.
    for (let rounds = 0; rounds < 2;) {
      const keys = (await this.hints.keysOf(owner)).filter(key => key !== options.except);
      const state = keys.toSorted().join();
      rounds = state === known ? rounds + 1 : 0;
      known = state;
      const meant = keys.filter(each => (options.only ?? each) === each);
      // Together: in a busy process, where each step waits for a turn, sessions get new ids faster than one by one is removed.
      for (let from = 0; from < meant.length; from += REMOVED_TOGETHER) {
        const some = meant.slice(from, from + REMOVED_TOGETHER);
        const done = await Promise.all(some.map(key => this.removeOwned(key, owner)));
        const count = done.filter(Boolean).length;
        removed += count;
        rounds = count > 0 ? 0 : rounds;
      }
    }
    return removed;
  }

  private async removeOwned(key: string, owner: string): Promise<boolean> {
    const isRemoved = (await this.ownerOf(key)) === owner && (await this.backend.delete(key));
    if (isRemoved) {
      await this.hints.remove(owner, key);
    }
    return isRemoved;
  }

  /** Also of a record that a later version stored: "log out everywhere" does not leave it. */
  private async ownerOf(key: string): Promise<string | undefined> {
    try {
      return (await this.backend.read(key))?.owner;
    } catch (error) {
      if (error instanceof RecordFormatException) {
        return error.owner;
      }
      throw error;
    }
  }
}

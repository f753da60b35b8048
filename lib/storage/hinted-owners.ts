import { createHash } from 'node:crypto';
import { unlessLater } from './record-format.js';
import type { OwnerSelection, SessionRecord, StoredRecord } from './session-backend.js';

/** Sessions that are read, or removed, at a time: a server does others' work in between. */
const TOGETHER = 100;

/** That a session may be an owner's. */
export interface OwnerHint {
  readonly key: string;
}

/** Which sessions may be an owner's. A hint is there before the record that it is of. */
export interface OwnerHints<Hint extends OwnerHint> {
  hintsOf(owner: string): Promise<Hint[]>;
  /** Drops hints of sessions that are gone. */
  forget(owner: string, hints: Hint[]): Promise<void>;
}

/** The sessions of an owner, in a storage that keeps hints of them: what counts is what the records say. */
export class HintedOwners<Hint extends OwnerHint> {
  /** @param removeOwned removes a session if it is the owner's, in whatever format @returns whether it did */
  constructor(
    private readonly hints: OwnerHints<Hint>,
    private readonly read: (key: string) => Promise<SessionRecord | undefined>,
    private readonly removeOwned: (key: string, owner: string) => Promise<boolean>,
  ) {}

  async find(owner: string): Promise<StoredRecord[]> {
    const found: StoredRecord[] = [];
    await inBatches(await this.hints.hintsOf(owner), async ({ key }) => {
      const record = await unlessLater(this.read(key));
      if (record?.owner === owner) {
        found.push({ key, record });
      }
    });
    return found.sort((a, b) => a.record.createdAt - b.record.createdAt || (a.key < b.key ? -1 : 1));
  }

  async delete(owner: string, { except, only }: OwnerSelection = {}): Promise<number> {
    let removed = 0;
    let known = '';
    // A session that gets a new key is there under one of two at least. It is missed in no two rounds in a row that find
    // nothing while no hint of a new key comes: hints come before the records.
    for (let rounds = 0; rounds < 2;) {
      const hints = (await this.hints.hintsOf(owner)).filter(({ key }) => key !== except);
      const keys = hints.map(({ key }) => key);
      const state = keys.sort().join();
      rounds = state === known ? rounds + 1 : 0;
      known = state;
      const gone: Hint[] = [];
      const meant = hints.filter(({ key }) => (only ?? key) === key);
      // Together: in a busy process, where each step waits for a turn, sessions get new ids faster than one by one is removed.
      await inBatches(meant, async hint => {
        if (await this.removeOwned(hint.key, owner)) {
          gone.push(hint);
        }
      });
      if (gone.length > 0) {
        await this.hints.forget(owner, gone);
        removed += gone.length;
        rounds = 0;
      }
    }
    return removed;
  }
}

/** In a name: an owner may be any string, and is nobody else's business. */
export const hashOwner = (owner: string): string => createHash('sha256').update(owner).digest('base64url');

async function inBatches<T>(items: T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let from = 0; from < items.length; from += TOGETHER) {
    await Promise.all(items.slice(from, from + TOGETHER).map(work));
  }
}

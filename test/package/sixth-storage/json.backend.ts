import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type {
  Lease,
  OwnerSelection,
  SessionBackend,
  SessionRecord,
  SessionWrite,
  StoredRecord,
} from '../session-backend.js';

/** What a file holds. */
interface Content extends SessionRecord {
  version: 1;
  lease?: { token: string; until: number } | undefined;
}

const ENDING = '.json';

/**
 * Sessions in a folder, a JSON file each. For one process: a method does its work in one turn of the event loop, which
 * makes it atomic. What concerns all sessions reads all files.
 */
export class JsonBackend implements SessionBackend {
  readonly inProcess = true;

  /** @param indent spaces by which the files are indented */
  constructor(
    private readonly folder: string,
    private readonly indent = 0,
  ) {
    mkdirSync(folder, { recursive: true });
  }

  async read(key: string): Promise<SessionRecord | undefined> {
    return toRecord(this.find(key));
  }

  async lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
    const content = this.find(key);
    if (content?.lease && content.lease.token !== lease.token && content.lease.until > Date.now()) {
      return 'busy';
    }
    if (content) {
      this.write(key, { ...content, lease: begin(lease) });
    }
    return toRecord(content);
  }

  async renew(key: string, lease: Lease): Promise<boolean> {
    return this.change(this.held(key, lease), key, { lease: begin(lease) });
  }

  async unlock(key: string, lease: Lease, ttl?: number): Promise<void> {
    const used = ttl === undefined ? {} : usedNow(ttl);
    this.change(this.held(key, lease), key, { lease: undefined, ...used });
  }

  async touch(key: string, ttl: number): Promise<boolean> {
    return this.change(this.find(key), key, usedNow(ttl));
  }

  async create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
    if (this.find(key)) {
      return false;
    }
    const { data, owner, timeout, persistent, ttl, createdAt = Date.now() } = write;
    const record = { data, owner, timeout, persistent, createdAt, ...usedNow(ttl) };
    this.write(key, { version: 1, ...record, lease: lease && begin(lease) });
    return true;
  }

  async save(
    key: string,
    { data, owner, timeout, persistent, ttl }: SessionWrite,
    lease: Lease,
    { unlock }: { unlock: boolean },
  ): Promise<boolean> {
    const changes = { data, owner, timeout, persistent, ...usedNow(ttl) };
    return this.change(this.held(key, lease), key, { ...changes, lease: unlock ? undefined : begin(lease) });
  }

  async delete(key: string, lease?: Lease): Promise<boolean> {
    const content = lease ? this.held(key, lease) : this.find(key);
    if (content) {
      rmSync(this.path(key));
    }
    return content !== undefined;
  }

  async cleanUp(signal?: AbortSignal): Promise<number> {
    let removed = 0;
    for (const key of this.keys()) {
      const content = this.get(key);
      if (content && content.expiresAt <= Date.now()) {
        rmSync(this.path(key));
        removed++;
      }
      await nextTurn(undefined, { signal });
    }
    return removed;
  }

  async close(): Promise<void> {}

  async count(): Promise<number> {
    return this.all().length;
  }

  async list(after = '', limit: number): Promise<StoredRecord[]> {
    return this.all()
      .filter(({ key }) => key > after)
      .slice(0, limit);
  }

  async findByOwner(owner: string): Promise<StoredRecord[]> {
    return this.ownedBy(owner).sort((a, b) => a.record.createdAt - b.record.createdAt);
  }

  async deleteByOwner(owner: string, { except, only }: OwnerSelection = {}): Promise<number> {
    const chosen = this.ownedBy(owner).filter(
      ({ key }) => key !== except && (only === undefined || key === only),
    );
    chosen.forEach(({ key }) => rmSync(this.path(key)));
    return chosen.length;
  }

  private change(content: Content | undefined, key: string, changes: Partial<Content>): boolean {
    if (content) {
      this.write(key, { ...content, ...changes });
    }
    return content !== undefined;
  }

  /** The content, while this lease holds its lock; also one that has lapsed, as long as nobody has taken it over. */
  private held(key: string, lease: Lease): Content | undefined {
    const content = this.find(key);
    return content?.lease?.token === lease.token ? content : undefined;
  }

  private find(key: string): Content | undefined {
    const content = this.get(key);
    return content && content.expiresAt > Date.now() ? content : undefined;
  }

  private get(key: string): Content | undefined {
    let text: string;
    try {
      text = readFileSync(this.path(key), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
        return undefined;
      }
      throw error; // trouble is not absence
    }
    const content = JSON.parse(text) as Content;
    if (content.version !== 1) {
      throw new Error(
        `A session is stored in version ${content.version} of the format, which is not known here`,
      );
    }
    return content;
  }

  /** A crash leaves the old file or the new one, never half of one. */
  private write(key: string, content: Content): void {
    const made = `${this.path(key)}.new`;
    writeFileSync(made, JSON.stringify(content, undefined, this.indent));
    renameSync(made, this.path(key));
  }

  private all(): StoredRecord[] {
    return this.keys().flatMap(key => {
      const record = toRecord(this.find(key));
      return record ? [{ key, record }] : [];
    });
  }

  private ownedBy(owner: string): StoredRecord[] {
    return this.all().filter(({ record }) => record.owner === owner);
  }

  private keys(): string[] {
    const names = readdirSync(this.folder).filter(name => name.endsWith(ENDING));
    return names.map(name => name.slice(0, -ENDING.length)).sort();
  }

  private path(key: string): string {
    return join(this.folder, key + ENDING);
  }
}

const begin = ({ token, ms }: Lease) => ({ token, until: Date.now() + ms });

const usedNow = (ttl: number) => ({ lastUsedAt: Date.now(), expiresAt: Date.now() + ttl });

function toRecord(content: Content | undefined): SessionRecord | undefined {
  if (!content) {
    return undefined;
  }
  const { version: _, lease: __, ...record } = content;
  return record;
}

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type {
  Admission,
  Lease,
  OwnerLimit,
  OwnerSelection,
  StoredRecord,
  SessionBackend,
  SessionRecord,
  SessionWrite,
} from '../session-backend.js';
import { toText } from '../escaped-text.js';
import { PostgresqlAdmission } from './postgresql.admission.js';
import { isSqlState, isStatementError, PostgresqlConnection } from './postgresql.connection.js';
import {
  columns,
  createValues,
  maxBytesOf,
  mayBeJson,
  saveValues,
  toRecord,
  toSaving,
  toStored,
  toToken,
  type Row,
  type Saving,
} from './postgresql.row.js';
import { postgresqlStatements, type PostgresqlStatements } from './postgresql.sql.js';
import { openTable, quoteTable, type SessionTable } from './postgresql.table.js';
import { StatementBatch } from './statement-batch.js';

/** Blocks (of 8 KiB, as a rule) that a sweep clears in one transaction. */
const SWEEP_BLOCKS = 32;
/** How much longer it rests after each one than that one took: the busier the server, the longer. */
const SWEEP_REST = 4;
/** Milliseconds after which another process may sweep if one died that was at it. */
const SWEEP_LEASE = 60_000;

/** SQLSTATE invalid_text_representation. */
const INVALID_TEXT = '22P02';

/** What a statement is asked to do to one session; as its parameters have them. */
interface Locking {
  key: string;
  token: string;
  ms: number;
}
interface Unlocking {
  key: string;
  token: string;
  ttl: number | undefined;
}
/**
 * Sessions in a table of a PostgreSQL database, for any number of processes. A request costs two round trips: one
 * locks and reads, one saves and unlocks; no connection is held in between. CherryPy's `PostgresqlSession`.
 */
export class PostgresqlBackend implements SessionBackend {
  private readonly sql: PostgresqlStatements;
  private readonly table: string;
  private readonly admission: PostgresqlAdmission;
  /** Leases that were told `'busy'`: they ask again with one statement, which the first try is faster without. */
  private readonly waiting = new WeakSet<Lease>();

  // What each request does, together with what others do at the time.
  private readonly reads = new StatementBatch<string, Row | undefined>(
    async key => (await this.query('read', [key]))[0],
    keys => this.readMany(keys),
    isStatementError,
  );
  private readonly locks = new StatementBatch<Locking, Row | undefined>(
    async ({ key, token, ms }) => (await this.query('lock', [key, token, ms]))[0],
    items => this.lockMany(items),
    isStatementError,
  );
  private readonly tries = new StatementBatch<Locking, Row | 'busy' | undefined>(
    async item => (await this.lockOrFind([item]))[0],
    items => this.lockOrFind(items),
    isStatementError,
  );
  private readonly unlocks = new StatementBatch<Unlocking, void>(
    item => this.unlockOne(item),
    items => this.unlockMany(items),
    isStatementError,
  );
  private readonly saves = new StatementBatch<Saving, boolean>(
    saving => this.changed('saveAndUnlock', saveValues(saving)),
    items => this.saveAndUnlockMany(items),
    isStatementError,
  );

  constructor(
    private readonly connection: PostgresqlConnection,
    private readonly sessions: SessionTable,
    timeoutMs: number,
    maxSize: number,
  ) {
    this.table = quoteTable(sessions);
    this.sql = postgresqlStatements(this.table, timeoutMs / 2, maxBytesOf(maxSize));
    this.admission = new PostgresqlAdmission(connection, this.sql, this.table);
  }

  /**
   * Makes the table if it is to, and looks whether it is the right one.
   * @throws SessionOptionsException if it is not
   */
  async open(options: { createTable: boolean }): Promise<void> {
    await openTable(this.connection, this.sessions, options.createTable);
  }

  async read(key: string): Promise<SessionRecord | undefined> {
    const row = await this.reads.run(key);
    return row && toRecord(row);
  }

  async lock(key: string, lease: Lease): Promise<SessionRecord | 'busy' | undefined> {
    const item = { key, token: toToken(lease), ms: lease.ms };
    const locked = this.waiting.has(lease) ? undefined : await this.locks.run(item);
    const found = locked ?? (await this.tries.run(item));
    if (found === 'busy') {
      this.waiting.add(lease);
      return found;
    }
    return found && toRecord(found);
  }

  renew(key: string, lease: Lease): Promise<boolean> {
    return this.changed('renew', [key, toToken(lease), lease.ms]);
  }

  unlock(key: string, lease: Lease, ttl?: number): Promise<void> {
    return this.unlocks.run({ key, token: toToken(lease), ttl });
  }

  touch(key: string, ttl: number): Promise<boolean> {
    return this.changed('touch', [key, ttl]);
  }

  create(key: string, write: SessionWrite, lease?: Lease): Promise<boolean> {
    return this.withData(write.data, data => this.changed('create', createValues(key, data, write, lease)));
  }

  save(key: string, write: SessionWrite, lease: Lease, { unlock }: { unlock: boolean }): Promise<boolean> {
    return this.withData(write.data, data => {
      const saving = toSaving(key, data, write, lease);
      return unlock ? this.saves.run(saving) : this.changed('save', saveValues(saving, lease));
    });
  }

  admit({ key, write, lease, save }: Admission, limit: OwnerLimit): Promise<boolean | 'refused'> {
    const { sql } = this;
    return this.withData(write.data, data => {
      const statement = save ? (save.unlock ? 'saveAndUnlock' : 'save') : 'create';
      const values = save
        ? saveValues(toSaving(key, data, write, lease), save.unlock ? undefined : lease)
        : createValues(key, data, write, lease);
      const storing = { text: sql[statement], values };
      return this.admission.admit(toText(write.owner), key, limit, storing);
    });
  }

  async delete(key: string, lease?: Lease): Promise<boolean> {
    const [row] = await this.query<{ live: boolean }>('delete', [key, lease ? toToken(lease) : null]);
    return row?.live ?? false;
  }

  async cleanUp(signal?: AbortSignal): Promise<number> {
    const token = randomBytes(16).toString('base64url');
    const [{ blocks }] = (await this.query<{ blocks: number }>('blocks', [this.table])) as [
      { blocks: number },
    ];
    let removed = 0;
    for (let from = 0; from < blocks; from += SWEEP_BLOCKS) {
      if (signal?.aborted) {
        break;
      }
      const startedAt = performance.now();
      const range = [`(${from},0)`, `(${from + SWEEP_BLOCKS},0)`];
      const [batch] = await this.query<{ removed: number }>('sweep', [...range, token, SWEEP_LEASE]);
      if (!batch) {
        return removed; // another process is at it
      }
      removed += batch.removed;
      await sleep((performance.now() - startedAt) * SWEEP_REST);
    }
    await this.query('sweepDone', [token]);
    return removed;
  }

  close(): Promise<void> {
    return this.connection.close();
  }

  async count(): Promise<number> {
    const [row] = await this.query<{ count: number }>('count', []);
    return row!.count;
  }

  async list(after = '', limit: number): Promise<StoredRecord[]> {
    return toStored(await this.query('list', [after, limit]));
  }

  async findByOwner(owner: string): Promise<StoredRecord[]> {
    return toStored(await this.query('findByOwner', [toText(owner)]));
  }

  async deleteByOwner(owner: string, { except, only }: OwnerSelection = {}): Promise<number> {
    const values = [toText(owner), except ?? null, only ?? null];
    // A session that gets a new id meanwhile is there under one of two at any time, but may be gone from the one that was
    // seen: only where none was seen, none is left.
    let removed = 0;
    for (let statement: 'deleteByOwner' | 'deleteOneByOwner' = 'deleteByOwner'; ;) {
      const rows: { seen: number; gone: number; live: number }[] = await this.query(statement, values);
      const { seen, gone, live } = rows[0]!;
      removed += live;
      if (seen === 0) {
        return removed;
      }
      // Of those that others were at work on, one is waited for; the rest may be free by then.
      statement = statement === 'deleteByOwner' && gone < seen ? 'deleteOneByOwner' : 'deleteByOwner';
    }
  }

  private async readMany(keys: string[]): Promise<(Row | undefined)[]> {
    const rows = await this.query('readMany', [keys]);
    const byKey = new Map(rows.map(row => [row.key, row]));
    return keys.map(key => byKey.get(key));
  }

  private async lockMany(items: Locking[]): Promise<(Row | undefined)[]> {
    const values = columns(items, 'key', 'token', 'ms');
    const rows = await this.query<Row & { token: string }>('lockMany', values);
    const byToken = new Map(rows.map(row => [row.token, row]));
    return items.map(({ token }) => byToken.get(token));
  }

  private async lockOrFind(items: Locking[]): Promise<(Row | 'busy' | undefined)[]> {
    const values = columns(items, 'key', 'token', 'ms');
    const rows = await this.query<Row & { token: string }>('lockOrFind', values);
    const byToken = new Map(rows.map(row => [row.token, row.data === null ? ('busy' as const) : row]));
    return items.map(({ token }) => byToken.get(token));
  }

  private async unlockOne({ key, token, ttl }: Unlocking): Promise<void> {
    await (ttl === undefined
      ? this.query('unlock', [key, token])
      : this.query('unlockAndTouch', [key, token, ttl]));
  }

  private async unlockMany(items: Unlocking[]): Promise<void[]> {
    await this.query('unlockMany', columns(items, 'key', 'token', 'ttl'));
    return [];
  }

  private async saveAndUnlockMany(items: Saving[]): Promise<boolean[]> {
    const values = columns(items, 'key', 'token', 'data', 'owner', 'timeout', 'persistent', 'ttl');
    const rows = await this.query<{ token: string }>('saveAndUnlockMany', values);
    const saved = new Set(rows.map(({ token }) => token));
    return items.map(({ token }) => saved.has(token));
  }

  private async changed(operation: keyof PostgresqlStatements, values: unknown[]): Promise<boolean> {
    return (await this.connection.query(operation, this.sql[operation], values)).rowCount > 0;
  }

  private async query<T = Row>(operation: keyof PostgresqlStatements, values: unknown[]): Promise<T[]> {
    return (await this.connection.query(operation, this.sql[operation], values)).rows as T[];
  }

  /** Writes data as JSON, where it is, so that SQL can look into it; other text as a JSON string. */
  private async withData<T>(data: string, write: (json: string) => Promise<T>): Promise<T> {
    if (!mayBeJson(data)) {
      return write(JSON.stringify(data));
    }
    try {
      return await write(data);
    } catch (error) {
      if (isSqlState(error, INVALID_TEXT)) {
        return write(JSON.stringify(data)); // an own serializer's, and no JSON after all
      }
      throw error;
    }
  }
}

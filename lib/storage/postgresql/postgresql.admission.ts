import { createHash } from 'node:crypto';
import { surplus } from '../owner-limit.js';
import type { OwnerLimit } from '../session-backend.js';
import { KeyedMutex } from '../keyed-mutex.js';
import type { PostgresqlConnection } from './postgresql.connection.js';
import type { PostgresqlStatements } from './postgresql.sql.js';

/** A statement that stores the session that is let in. */
interface Storing {
  text: string;
  values: unknown[];
}

/**
 * Keeps owners to their limits. A transaction that has the owner's lock counts, stores and removes: nobody sees more
 * sessions than the limit, and no other process counts meanwhile. In this process, one at a time asks for a connection.
 */
export class PostgresqlAdmission {
  private readonly mutex = new KeyedMutex();

  constructor(
    private readonly connection: PostgresqlConnection,
    private readonly sql: PostgresqlStatements,
    private readonly table: string,
  ) {}

  /** @param owner as it is stored */
  admit(owner: string, key: string, limit: OwnerLimit, storing: Storing): Promise<boolean | 'refused'> {
    const { sql } = this;
    return this.mutex.runExclusive(owner, () =>
      this.connection.transaction(async query => {
        await query(sql.admission, [this.lockOf(owner)]);
        const { rows } = await query(sql.keysOfOwner, [owner]);
        const leaving = surplus(rows as { key: string }[], key, limit.max);
        if (leaving.length > 0 && limit.refuses) {
          return 'refused';
        }
        if (leaving.length > 0) {
          await query(sql.lockRows, [[key, ...leaving.map(each => each.key)]]);
        }
        const { rowCount } = await query(storing.text, storing.values);
        if (rowCount && leaving.length > 0) {
          await query(sql.deleteOwned, [leaving.map(each => each.key), owner]);
        }
        return Boolean(rowCount);
      }),
    );
  }

  /** Advisory locks are numbers, of the whole database. */
  private lockOf(owner: string): string {
    return createHash('sha256').update(`${this.table}\n${owner}`).digest().readBigInt64BE().toString();
  }
}

import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { vi } from 'vitest';
import { newStorage, type StorageName, type StorageUnderTest } from './storages.js';

/**
 * A time that stands still, and passes when it is told to: for this process, and for the sessions in PostgreSQL,
 * which go by their database's clock. There it stands in a table.
 */
export class TestClock {
  private readonly schema = `clock_${randomBytes(6).toString('hex')}`;
  private database: Client | undefined;

  /** @param now milliseconds since 1970 */
  constructor(now: number) {
    vi.useFakeTimers({ toFake: ['Date'], now });
  }

  /** The options of a storage with nothing in it, that goes by this clock. */
  async newStorage(storage: StorageName): Promise<StorageUnderTest> {
    const options = await newStorage(storage);
    const { url, tableName } = options;
    if (url === undefined) {
      return options;
    }
    const { schema } = this;
    this.database = new Client(url);
    await this.database.connect();
    await this.database.query(`
      CREATE SCHEMA ${schema}
        CREATE TABLE clock (now timestamptz);
      INSERT INTO ${schema}.clock VALUES (NULL);
      CREATE FUNCTION ${schema}.statement_timestamp() RETURNS timestamptz
        LANGUAGE sql STABLE AS 'SELECT now FROM ${schema}.clock';
      CREATE FUNCTION ${schema}.clock_timestamp() RETURNS timestamptz
        LANGUAGE sql STABLE AS 'SELECT now FROM ${schema}.clock'`);
    await this.set(Date.now());
    // Functions are looked for along this path: these come before the real ones.
    return {
      storageType: 'postgresql',
      tableName,
      connection: { url, extra: { options: `-c search_path=public,${schema},pg_catalog` } },
    };
  }

  async pass(ms: number): Promise<void> {
    await this.set(Date.now() + ms);
  }

  /** Back to the real time. */
  async stop(): Promise<void> {
    await this.database?.query(`DROP SCHEMA ${this.schema} CASCADE`);
    await this.database?.end();
    vi.useRealTimers();
  }

  private async set(now: number): Promise<void> {
    vi.setSystemTime(now);
    await this.database?.query(`UPDATE ${this.schema}.clock SET now = to_timestamp($1::float8 / 1000)`, [
      now,
    ]);
  }
}

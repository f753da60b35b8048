import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { createClient } from 'redis';
import { vi } from 'vitest';
import { newStorage, type StorageName, type StorageUnderTest } from './storages.js';

/** Of a session's fields in Redis, those that are times. */
const TIMES = ['createdAt', 'lastUsedAt', 'lockedUntil', 'hint', 'expiresAt'];

/**
 * A time that stands still, and passes when it is told to: for this process, and for the sessions in PostgreSQL,
 * which go by their database's clock. There it stands in a table. Redis' clock goes on: there, the sessions get older.
 */
export class TestClock {
  private readonly schema = `clock_${randomBytes(6).toString('hex')}`;
  private database: Client | undefined;
  private redis: { url: string; keyPrefix: string } | undefined;

  /** @param now milliseconds since 1970 */
  constructor(now: number) {
    vi.useFakeTimers({ toFake: ['Date'], now });
  }

  /** The options of a storage with nothing in it, that goes by this clock. */
  async newStorage(storage: StorageName): Promise<StorageUnderTest> {
    const options = await newStorage(storage);
    const { url, tableName, keyPrefix } = options;
    if (storage === 'redis') {
      this.redis = { url: url!, keyPrefix: keyPrefix! };
    }
    if (storage !== 'postgresql') {
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
    await this.makeOlder(ms);
    await this.set(Date.now() + ms);
  }

  /** Back to the real time. */
  async stop(): Promise<void> {
    await this.database?.query(`DROP SCHEMA ${this.schema} CASCADE`);
    await this.database?.end();
    vi.useRealTimers();
  }

  /** In Redis. */
  private async makeOlder(ms: number): Promise<void> {
    if (!this.redis) {
      return;
    }
    const { url, keyPrefix } = this.redis;
    const client = await createClient({ url }).connect();
    for (const key of await client.keys(`${keyPrefix}${'?'.repeat(43)}`)) {
      for (const field of TIMES) {
        if (await client.hExists(key, field)) {
          await client.hIncrBy(key, field, -ms);
        }
      }
      await client.pExpire(key, (await client.pTTL(key)) - ms);
    }
    client.destroy();
  }

  private async set(now: number): Promise<void> {
    vi.setSystemTime(now);
    await this.database?.query(`UPDATE ${this.schema}.clock SET now = to_timestamp($1::float8 / 1000)`, [
      now,
    ]);
  }
}

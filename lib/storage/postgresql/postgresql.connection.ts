import { createHash } from 'node:crypto';
import type { DataSource, DataSourceOptions } from 'typeorm';
import { SessionException, SessionOptionsException } from '../../exceptions/session.exception.js';
import { describeError } from '../describe-error.js';
import { importOptional } from '../import-optional.js';

/** SQLSTATEs of a server connection that does not know, or knows already, a prepared statement. */
const STATEMENT_UNKNOWN = '26000';
const STATEMENT_EXISTS = '42P05';

interface QueryResult {
  rows: unknown[];
  rowCount: number;
}

/** What is used of pg's pool, which TypeORM keeps in its driver. */
interface PgPool {
  query(config: {
    name?: string | undefined;
    text: string;
    values: unknown[];
    query_timeout: number;
  }): Promise<{ rows: unknown[]; rowCount: number | null }>;
}

export interface PostgresqlConnectionOptions {
  url?: string | undefined;
  /** TypeORM's options of a PostgreSQL connection. */
  connection?: object | undefined;
  /** The application's own, initialized. */
  dataSource?: DataSource | undefined;
  /** Milliseconds that a statement may take, the wait for a connection included. */
  timeoutMs: number;
}

/** The way to the database: TypeORM's DataSource, made here or the application's, and the pg pool in it. */
export class PostgresqlConnection {
  /** A proxy that pools transactions may not keep prepared statements: then they are sent whole. */
  private usesPrepared = true;
  private readonly pool: PgPool;

  private constructor(
    readonly dataSource: DataSource,
    private readonly isOwn: boolean,
    private readonly timeoutMs: number,
  ) {
    this.pool = (dataSource.driver as unknown as { master: PgPool }).master;
  }

  /** @throws SessionOptionsException if a package is missing or the DataSource is of no use */
  static async open(options: PostgresqlConnectionOptions): Promise<PostgresqlConnection> {
    const { dataSource, timeoutMs } = options;
    if (dataSource) {
      assertUsable(dataSource);
      return new PostgresqlConnection(dataSource, false, timeoutMs);
    }
    const [{ DataSource }] = await importOptional<[typeof import('typeorm'), unknown]>(
      'postgresql',
      'typeorm',
      'pg',
    );
    const own = new DataSource({
      applicationName: 'nest-sessions',
      connectTimeoutMS: timeoutMs,
      ...(options.url !== undefined && { url: options.url }),
      ...options.connection,
      type: 'postgres',
    } as DataSourceOptions);
    try {
      await own.initialize();
    } catch (error) {
      throw new SessionException(`PostgreSQL cannot be reached: ${describeError(error)}`, { cause: error });
    }
    return new PostgresqlConnection(own, true, timeoutMs);
  }

  /** @param name of the statement; the same name always goes with the same text */
  async query(name: string, text: string, values: unknown[]): Promise<QueryResult> {
    const { usesPrepared, timeoutMs } = this;
    try {
      const result = await inTime(
        this.pool.query({
          name: usesPrepared ? statementName(name, text) : undefined,
          text,
          values,
          query_timeout: timeoutMs, // ends the connection of a statement that got no answer
        }),
        timeoutMs,
      );
      return { rows: result.rows, rowCount: result.rowCount ?? 0 };
    } catch (error) {
      if (usesPrepared && isSqlState(error, STATEMENT_UNKNOWN, STATEMENT_EXISTS)) {
        this.usesPrepared = false; // the statement was refused before it did anything
        return this.query(name, text, values);
      }
      throw error;
    }
  }

  async close(): Promise<void> {
    if (this.isOwn) {
      await this.dataSource.destroy();
    }
  }
}

export const isSqlState = (error: unknown, ...codes: string[]): boolean =>
  codes.includes((error as { code?: string } | undefined)?.code ?? '');

/** Two tables, or two versions of this package, may share a connection. */
const names = new Map<string, string>();
function statementName(name: string, text: string): string {
  let full = names.get(text);
  if (!full) {
    full = `nest-sessions-${name}-${createHash('sha256').update(text).digest('hex').slice(0, 12)}`;
    names.set(text, full);
  }
  return full;
}

function assertUsable(dataSource: DataSource): void {
  if (dataSource.options?.type !== 'postgres') {
    throw new SessionOptionsException([
      `dataSource is of type ${dataSource.options?.type}; storageType 'postgresql' needs one of type postgres`,
    ]);
  }
  if (!dataSource.isInitialized) {
    throw new SessionOptionsException([
      `dataSource is not initialized; call its initialize() before, or inject it from TypeOrmModule`,
    ]);
  }
}

/** The wait for a free connection counts too, which no timeout of pg's statements covers. */
function inTime<T>(work: Promise<T>, ms: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`PostgreSQL did not answer within ${ms} ms`)), ms);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

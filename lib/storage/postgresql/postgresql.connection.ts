import { createHash } from 'node:crypto';
import type { DataSource, DataSourceOptions } from 'typeorm';
import { SessionException, SessionOptionsException } from '../../exceptions/session.exception.js';
import { describeError } from '../describe-error.js';
import { inTime } from '../in-time.js';
import { importOptional } from '../import-optional.js';
import { UnsentRequestException } from '../unsent-request.exception.js';
import { describeUnreachable } from './postgresql.start.js';

/** SQLSTATEs of a server connection that does not know, or knows already, a prepared statement. */
const STATEMENT_UNKNOWN = '26000';
const STATEMENT_EXISTS = '42P05';
/** SQLSTATEs of a statement that was rolled back so that another can go on. */
const DEADLOCK = '40P01';
const NOT_SERIALIZABLE = '40001';
const TRIES = 3;

interface QueryResult {
  rows: unknown[];
  rowCount: number;
}

interface PgQuery {
  name?: string | undefined;
  text: string;
  values: unknown[];
}

interface PgResult {
  rows: unknown[];
  rowCount: number | null;
}

type Done<T> = (error: Error | null, result?: T) => void;

/** Sends a statement of a transaction. */
export type Query = (text: string, values?: unknown[]) => Promise<PgResult>;

/** What is used of pg's pool, which TypeORM keeps in its driver. */
interface PgPool {
  connect(done: (error: Error | undefined, client: PgClient | undefined) => void): void;
}

interface PgClient {
  query(query: PgQuery, done: Done<PgResult>): void;
  on(event: 'error', listener: () => void): unknown;
  off(event: 'error', listener: () => void): unknown;
  /** @param error closes the connection */
  release(error?: Error): void;
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
    const { extra, ...connection } = (options.connection ?? {}) as { extra?: object };
    const own = new DataSource({
      applicationName: 'nest-sessions',
      connectTimeoutMS: timeoutMs,
      ...(options.url !== undefined && { url: options.url }),
      ...connection,
      type: 'postgres',
      // A server that hangs must not keep the process from ending.
      extra: { query_timeout: timeoutMs, allowExitOnIdle: true, ...extra },
    } as DataSourceOptions);
    const ready = own.initialize();
    try {
      await startInTime(ready, timeoutMs);
    } catch (error) {
      ready.then(() => own.destroy()).catch(noop);
      throw describeUnreachable(error, options.url === undefined ? 'connection' : 'url');
    }
    return new PostgresqlConnection(own, true, timeoutMs);
  }

  /** @param name of the statement; the same name always goes with the same text */
  async query(name: string, text: string, values: unknown[], tries = TRIES): Promise<QueryResult> {
    const { usesPrepared } = this;
    try {
      const result = await this.send({
        name: usesPrepared ? statementName(name, text) : undefined,
        text,
        values,
      });
      return { rows: result.rows, rowCount: result.rowCount ?? 0 };
    } catch (error) {
      if (usesPrepared && isSqlState(error, STATEMENT_UNKNOWN, STATEMENT_EXISTS)) {
        this.usesPrepared = false; // the statement was refused before it did anything
        return this.query(name, text, values);
      }
      if (tries > 1 && isSqlState(error, DEADLOCK, NOT_SERIALIZABLE)) {
        return this.query(name, text, values, tries - 1); // rolled back, for the sake of another one
      }
      throw error;
    }
  }

  async close(): Promise<void> {
    if (this.isOwn) {
      await this.dataSource.destroy();
    }
  }

  /**
   * Several statements on one connection, all of them or none; each sees what was stored before it.
   * @param work makes them, one after the other. Called again where the server rolled it back for the sake of another.
   */
  async transaction<T>(work: (query: Query) => Promise<T>, tries = TRIES): Promise<T> {
    try {
      return await this.withClient<T>((client, finish) => {
        const query: Query = (text, values = []) =>
          new Promise((resolve, reject) =>
            client.query({ text, values }, (error, result) => (error ? reject(error) : resolve(result!))),
          );
        const all = async () => {
          await query('BEGIN ISOLATION LEVEL READ COMMITTED');
          const result = await work(query);
          await query('COMMIT');
          return result;
        };
        all()
          .then(result => finish(null, result))
          .catch(finish); // a failure closes the connection, and so rolls back
      });
    } catch (error) {
      if (tries > 1 && isSqlState(error, DEADLOCK, NOT_SERIALIZABLE)) {
        return this.transaction(work, tries - 1);
      }
      throw error;
    }
  }

  /** As the pool's own query(). */
  private send(query: PgQuery): Promise<PgResult> {
    return this.withClient((client, finish) => client.query(query, finish));
  }

  /**
   * In time, the wait for a connection included. What gets no answer loses its connection, and what was not sent by then
   * never is: nobody would give back a lock that it took.
   */
  private withClient<T>(use: (client: PgClient, finish: Done<T>) => void): Promise<T> {
    const { pool, timeoutMs } = this;
    return new Promise((resolve, reject) => {
      let client: PgClient | undefined;
      let isOver = false;
      const end = (error: Error | undefined, result?: T) => {
        if (!isOver) {
          isOver = true;
          clearTimeout(timer);
          client?.off('error', noop);
          client?.release(error);
          if (client && !error) {
            resolve(result as T);
          } else {
            reject(client ? error : new UnsentRequestException(describeError(error), { cause: error }));
          }
        }
      };
      const timer = setTimeout(() => end(noAnswer(timeoutMs)), timeoutMs);
      pool.connect((error, connected) => {
        if (isOver) {
          connected?.release();
        } else if (connected) {
          client = connected;
          client.on('error', noop); // it fails the statement, too; without a listener it would end the process
          use(client, (failure, result) => end(failure ?? undefined, result));
        } else {
          end(error);
        }
      });
    });
  }
}

/**
 * For what the start needs: a server that hangs must not keep it from failing.
 * @throws SessionException if the work is not done in time
 */
export const startInTime = <T>(work: Promise<T>, ms: number): Promise<T> =>
  inTime(work, ms, () => new SessionException(noAnswer(ms).message));

export const isSqlState = (error: unknown, ...codes: string[]): boolean =>
  codes.includes((error as { code?: string } | undefined)?.code ?? '');

/** Whether the server refused the statement itself: nothing of it was carried out, and the connection is fine. */
export const isStatementError = (error: unknown): boolean =>
  /^(?=.*\d)(?!08|53|57|58|XX)[0-9A-Z]{5}$/.test((error as { code?: string } | undefined)?.code ?? '');

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

const noAnswer = (ms: number): Error => new Error(`PostgreSQL did not answer within ${ms} ms`);

function noop(): void {}

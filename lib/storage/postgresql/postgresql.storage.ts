import type { DataSource } from 'typeorm';
import { bool, option } from '../../options/option.js';
import { isText, storageTimeout, storageType } from '../storage-type.js';
import { PostgresqlBackend } from './postgresql.backend.js';
import { startInTime, PostgresqlConnection } from './postgresql.connection.js';
import { DEFAULT_TABLE } from './postgresql.table.js';

/** What is asked of TypeORM's `DataSource`; not by its own type, as TypeORM need not be installed. */
export interface TypeOrmDataSource {
  readonly isInitialized: boolean;
  readonly options: { readonly type: string };
}

/** A name of PostgreSQL's has at most 63 bytes; the rest is cut off, silently. */
const MAX_NAME = 63;

/** Sessions in a table of a PostgreSQL database. */
export const postgresql = storageType({
  options: {
    /** Like `postgres://user:password@host:5432/database`. This, `connection` or `dataSource`. */
    url: option<string>(checkUrl),
    /** TypeORM's options of a PostgreSQL connection, without `type`. */
    connection: option<object>(connection =>
      typeof connection === 'object' && connection !== null
        ? undefined
        : `must be an object with TypeORM's options of a PostgreSQL connection`,
    ),
    /** The application's own DataSource, initialized; the application closes it. */
    dataSource: option<TypeOrmDataSource>(dataSource =>
      typeof (dataSource as TypeOrmDataSource | null)?.isInitialized === 'boolean'
        ? undefined
        : `must be a DataSource of TypeORM`,
    ),
    /** The table to keep sessions in. Default `'nest_sessions'`. */
    tableName: option<string, string>(checkName, (name = DEFAULT_TABLE) => name),
    /** The table's schema. Default: the connection's. */
    schema: option<string>(checkName),
    /** Make the table and its index if they are missing. Default true. */
    createTable: bool(true),
    /** Seconds that a call of the storage may take before the request is answered 503. Default 5. */
    storageTimeout,
  },
  check({ url, connection, dataSource }) {
    const ways = [url, connection, dataSource].filter(way => way !== undefined).length;
    return ways === 1
      ? []
      : [
          `storageType 'postgresql' needs one of url, connection and dataSource, and has ${ways}; ` +
            `e.g. url: process.env.DATABASE_URL, if that is set`,
        ];
  },
  async open(
    { url, connection, dataSource, tableName: name, schema, createTable, storageTimeout: seconds },
    maxSize,
  ) {
    const timeoutMs = seconds * 1000;
    const own = dataSource as DataSource | undefined;
    const opened = await PostgresqlConnection.open({ url, connection, dataSource: own, timeoutMs });
    try {
      const backend = new PostgresqlBackend(opened, { name, schema }, timeoutMs, maxSize);
      await startInTime(backend.open({ createTable }), timeoutMs);
      return backend;
    } catch (error) {
      await opened.close();
      throw error;
    }
  },
});

/** It is not shown: it holds a password. */
function checkUrl(url: unknown): string | undefined {
  return isText(url) && /^postgres(ql)?:/.test(url)
    ? undefined
    : `must be like postgres://user:password@host:5432/database`;
}

function checkName(name: unknown): string | undefined {
  return isText(name) && Buffer.byteLength(name) <= MAX_NAME && !name.includes('\0')
    ? undefined
    : `must be a name of 1 to ${MAX_NAME} bytes`;
}

import { SessionOptionsException } from '../../exceptions/session.exception.js';
import type { PostgresqlConnection } from './postgresql.connection.js';
import { quoteIdentifier } from './postgresql.sql.js';

export const DEFAULT_TABLE = 'nest_sessions';

export interface SessionTable {
  name: string;
  schema?: string | undefined;
}

/** The columns, with their types as PostgreSQL's information schema names them. */
const COLUMNS: Record<string, string> = {
  key: 'text',
  data: 'json',
  owner: 'text',
  timeout: 'double precision',
  created_at: 'timestamp with time zone',
  expires_at: 'timestamp with time zone',
  lock_token: 'text',
  locked_until: 'timestamp with time zone',
};
const REQUIRED = new Set(['data', 'created_at', 'expires_at']);

/** As an SQL identifier, with its schema. */
export const quoteTable = ({ name, schema }: SessionTable): string =>
  [schema, name]
    .filter(part => part !== undefined)
    .map(quoteIdentifier)
    .join('.');

/**
 * What makes the table, if it is missing. Pages are left partly free, and no index is on what every request
 * changes, so that a new version of a row goes next to the old one and the space of old versions is used again.
 */
export function createTableStatements(table: SessionTable): string[] {
  const columns = Object.entries(COLUMNS).map(
    ([name, type]) =>
      `${quoteIdentifier(name)} ${type}${name === 'key' ? ' PRIMARY KEY' : REQUIRED.has(name) ? ' NOT NULL' : ''}`,
  );
  const index = quoteIdentifier(`${table.name}_owner`.slice(-63));
  return [
    `CREATE TABLE IF NOT EXISTS ${quoteTable(table)} (${columns.join(', ')}) WITH (fillfactor = 70)`,
    `CREATE INDEX IF NOT EXISTS ${index} ON ${quoteTable(table)} (owner) WHERE owner IS NOT NULL`,
  ];
}

type Query = (sql: string, values?: unknown[]) => Promise<unknown>;

/**
 * Makes the table and its index. Of several processes that start at once, one does, and the others wait.
 * One transaction, so that it also works through a proxy that pools transactions.
 * @throws SessionOptionsException if there is a table of that name with other columns
 */
export async function createTable({ dataSource }: PostgresqlConnection, table: SessionTable): Promise<void> {
  const [makeTable, makeIndex] = createTableStatements(table) as [string, string];
  await dataSource.transaction(async manager => {
    const query: Query = (sql, values) => manager.query(sql, values);
    await query(`SELECT pg_advisory_xact_lock(hashtext('nest-sessions'), hashtext($1))`, [quoteTable(table)]);
    await query(makeTable);
    await checkTable(query, table);
    await query(makeIndex);
  });
}

/** @throws SessionOptionsException if the table is missing or has other columns */
export async function checkTable(query: Query, table: SessionTable): Promise<void> {
  const columns = (await query(
    `SELECT attname AS name, atttypid::regtype::text AS type FROM pg_attribute
      WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`,
    [quoteTable(table)],
  )) as { name: string; type: string }[];
  const found = new Map(columns.map(({ name, type }) => [name, type]));
  if (found.size === 0) {
    throw new SessionOptionsException([
      `the table ${quoteTable(table)} does not exist; run the migration CreateSessionsTable of nest-sessions/postgresql, or remove createTable: false`,
    ]);
  }
  const wrong = Object.entries(COLUMNS)
    .filter(([name, type]) => found.get(name) !== type)
    .map(([name, type]) => `${name} is ${found.get(name) ?? 'missing'}, not ${type}`);
  if (wrong.length > 0) {
    throw new SessionOptionsException([
      `the table ${quoteTable(table)} is not one of sessions (${wrong.join('; ')}); set tableName to another, or migrate it`,
    ]);
  }
}

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
  persistent: 'boolean',
  last_used_at: 'timestamp with time zone',
  format: 'smallint',
};
/** What a column is besides its type. Those with a default came later: a version before leaves them out. */
const CONSTRAINTS: Record<string, string> = {
  key: 'PRIMARY KEY',
  data: 'NOT NULL',
  created_at: 'NOT NULL',
  expires_at: 'NOT NULL',
  last_used_at: 'NOT NULL DEFAULT now()',
  format: 'NOT NULL DEFAULT 1',
};
const ADDED = ['persistent', 'last_used_at', 'format'];

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
  const columns = Object.keys(COLUMNS).map(defineColumn);
  const index = quoteIdentifier(`${table.name}_owner`.slice(-63));
  return [
    `CREATE TABLE IF NOT EXISTS ${quoteTable(table)} (${columns.join(', ')}) WITH (fillfactor = 70)`,
    `CREATE INDEX IF NOT EXISTS ${index} ON ${quoteTable(table)} (owner) WHERE owner IS NOT NULL`,
  ];
}

/** What brings a table of version 0.1 up to date. Processes of that version go on with it. */
export const addColumnsStatement = (table: SessionTable): string =>
  `ALTER TABLE ${quoteTable(table)} ${ADDED.map(name => `ADD COLUMN IF NOT EXISTS ${defineColumn(name)}`).join(', ')}`;

const defineColumn = (name: string): string =>
  [quoteIdentifier(name), COLUMNS[name], CONSTRAINTS[name] ?? []].flat().join(' ');

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
    const columns = await columnsOf(query, table);
    if (ADDED.some(name => !columns.has(name))) {
      await query(addColumnsStatement(table));
    }
    await checkTable(query, table);
    await query(makeIndex);
  });
}

/** @throws SessionOptionsException if the table is missing or has other columns */
export async function checkTable(query: Query, table: SessionTable): Promise<void> {
  const found = await columnsOf(query, table);
  if (found.size === 0) {
    throw new SessionOptionsException([
      `the table ${quoteTable(table)} does not exist; run the migration CreateSessionsTable of nest-sessions/postgresql, or remove createTable: false`,
    ]);
  }
  const wrong = Object.keys(COLUMNS).filter(name => found.get(name) !== COLUMNS[name]);
  if (wrong.length > 0) {
    const isOlder = wrong.every(name => ADDED.includes(name) && !found.has(name));
    const faults = wrong.map(name => `${name} is ${found.get(name) ?? 'missing'}, not ${COLUMNS[name]}`);
    throw new SessionOptionsException([
      isOlder
        ? `the table ${quoteTable(table)} is one of an older version; run the migration AddSessionColumns of nest-sessions/postgresql, or remove createTable: false`
        : `the table ${quoteTable(table)} is not one of sessions (${faults.join('; ')}); set tableName to another`,
    ]);
  }
}

/** @returns the types by name; none if there is no such table */
async function columnsOf(query: Query, table: SessionTable): Promise<Map<string, string>> {
  const columns = (await query(
    `SELECT attname AS name, atttypid::regtype::text AS type FROM pg_attribute
      WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`,
    [quoteTable(table)],
  )) as { name: string; type: string }[];
  return new Map(columns.map(({ name, type }) => [name, type]));
}

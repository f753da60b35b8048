import type { DataSource } from 'typeorm';
import { SessionOptionsException } from '../../exceptions/session.exception.js';
import type { PostgresqlConnection } from './postgresql.connection.js';
import { quoteIdentifier } from './postgresql.sql.js';
import { describeRefusal, PRIVILEGES } from './postgresql.start.js';

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

/** What the database says of the table. */
interface FoundTable {
  isThere: boolean;
  columns: { name: string; type: string }[];
  /** Of those that the role needs. */
  missing: string[];
}

/**
 * Looks whether the table is the right one, and may be used; makes it before, with its index, if it is missing. Where it
 * is there, no right to make anything is needed.
 * @throws SessionOptionsException that says what is wrong, and what to do
 */
export async function openTable(
  { dataSource }: PostgresqlConnection,
  table: SessionTable,
  mayCreate: boolean,
): Promise<void> {
  const query: Query = (sql, values) => dataSource.query(sql, values);
  const [{ role }] = (await query('SELECT current_user AS role')) as [{ role: string }];
  try {
    let found = await findTable(query, table);
    if (mayCreate && (!found.isThere || isOlder(found))) {
      await (found.isThere ? query(addColumnsStatement(table)) : createTable(dataSource, table));
      found = await findTable(query, table);
    }
    checkTable(found, table, role);
  } catch (error) {
    throw describeRefusal(error, quoteTable(table), table.schema, role);
  }
}

async function findTable(query: Query, table: SessionTable): Promise<FoundTable> {
  const [found] = (await query(
    `SELECT id IS NOT NULL AS "isThere",
      ARRAY(SELECT json_build_object('name', attname, 'type', atttypid::regtype::text) FROM pg_attribute
        WHERE attrelid = id AND attnum > 0 AND NOT attisdropped) AS columns,
      ARRAY(SELECT name FROM unnest($2::text[]) AS name WHERE NOT has_table_privilege(id, name)) AS missing
      FROM (SELECT to_regclass($1)::oid AS id) AS named`,
    [quoteTable(table), PRIVILEGES],
  )) as [FoundTable];
  return found;
}

/**
 * Makes the table and its index. Of several processes that start at once, one does, and the others wait.
 * One transaction, so that it also works through a proxy that pools transactions.
 */
async function createTable(dataSource: DataSource, table: SessionTable): Promise<void> {
  await dataSource.transaction(async manager => {
    await manager.query(`SELECT pg_advisory_xact_lock(hashtext('nest-sessions'), hashtext($1))`, [
      quoteTable(table),
    ]);
    for (const statement of createTableStatements(table)) {
      await manager.query(statement);
    }
  });
}

const typesOf = (columns: FoundTable['columns']) => new Map(columns.map(({ name, type }) => [name, type]));

/** Whether it lacks what was added since version 0.1, and nothing else. */
function isOlder({ columns }: Pick<FoundTable, 'columns'>): boolean {
  const found = typesOf(columns);
  const wrong = Object.keys(COLUMNS).filter(name => found.get(name) !== COLUMNS[name]);
  return wrong.length > 0 && wrong.every(name => ADDED.includes(name) && !found.has(name));
}

function checkTable({ isThere, columns, missing }: FoundTable, table: SessionTable, role: string): void {
  const name = quoteTable(table);
  if (!isThere) {
    throw new SessionOptionsException([
      `the table ${name} does not exist; run the migration CreateSessionsTable of nest-sessions/postgresql, or remove createTable: false`,
    ]);
  }
  const found = typesOf(columns);
  const wrong = Object.entries(COLUMNS)
    .filter(([column, type]) => found.get(column) !== type)
    .map(([column, type]) => `${column} is ${found.get(column) ?? 'missing'}, not ${type}`);
  if (wrong.length > 0) {
    throw new SessionOptionsException([
      isOlder({ columns })
        ? `the table ${name} is one of an older version; run the migration AddSessionColumns of nest-sessions/postgresql, or remove createTable: false`
        : `the table ${name} is not one of sessions (${wrong.join('; ')}); set tableName to another`,
    ]);
  }
  if (missing.length > 0) {
    throw new SessionOptionsException([
      `the role ${role} lacks the right to ${missing.join(', ')} in the table ${name}; GRANT ${missing.join(', ')} ON ${name} TO "${role}", or set url, connection or tableName to others`,
    ]);
  }
}

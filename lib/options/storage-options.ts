import type { SessionModuleOptions } from './session-options.js';

type Options = SessionModuleOptions;

/** Stands for a backend of the application's, and a store of express-session's. */
const OWN = 'your own backend';

/** The options that not every storage knows. */
const BELONGS_TO: Partial<Record<keyof Options, string[]>> = {
  storagePath: ['file'],
  maxSessions: ['ram'],
  url: ['postgresql'],
  connection: ['postgresql'],
  dataSource: ['postgresql'],
  tableName: ['postgresql'],
  schema: ['postgresql'],
  createTable: ['postgresql'],
  servers: ['memcached'],
  username: ['memcached'],
  password: ['memcached'],
  keyPrefix: ['memcached'],
  storageTimeout: ['postgresql', 'memcached', 'file', OWN],
};

/** A name of PostgreSQL's has at most 63 bytes; the rest is cut off, silently. */
const MAX_NAME = 63;
/** host:port, or the host alone. */
const SERVER = /^[^\s:,@]+(:\d{1,5})?$/;
/** A key of memcached's has at most 250 bytes, no spaces and no control characters. */
const KEY_PREFIX = /^[\x21-\x7e]{0,150}$/;

/** @returns what is wrong with the options of the storage that is asked for */
export function checkStorageOptions(options: Options): string[] {
  const { storageType = 'ram' } = options;
  const storage = typeof storageType === 'string' ? storageType : OWN;
  const problems = Object.entries(BELONGS_TO)
    .filter(([name, storages]) => options[name as keyof Options] !== undefined && !storages.includes(storage))
    .map(([name, storages]) => {
      const wanted = storages.map(known => (known === OWN ? OWN : `'${known}'`)).join(' or ');
      return `${name} goes with storageType ${wanted}; set that, or remove ${name}`;
    });
  switch (storageType) {
    case 'file':
      return [...problems, ...checkFile(options)];
    case 'postgresql':
      return [...problems, ...checkPostgresql(options)];
    case 'memcached':
      return [...problems, ...checkMemcached(options)];
    default:
      return problems;
  }
}

function checkFile({ storagePath }: Options): string[] {
  return isText(storagePath)
    ? []
    : [`storagePath is missing; storageType 'file' needs a folder, e.g. storagePath: './sessions'`];
}

function checkPostgresql({ url, connection, dataSource, tableName, schema }: Options): string[] {
  const problems: string[] = [];
  const ways = [url, connection, dataSource].filter(way => way !== undefined).length;
  if (ways !== 1) {
    problems.push(
      `storageType 'postgresql' needs one of url, connection and dataSource, and has ${ways}; e.g. url: process.env.DATABASE_URL, if that is set`,
    );
  }
  if (url !== undefined && !(isText(url) && /^postgres(ql)?:/.test(url))) {
    problems.push(`url must be like postgres://user:password@host:5432/database`); // not shown: it holds a password
  }
  if (connection !== undefined && (typeof connection !== 'object' || connection === null)) {
    problems.push(`connection must be an object with TypeORM's options of a PostgreSQL connection`);
  }
  if (dataSource !== undefined && typeof dataSource?.isInitialized !== 'boolean') {
    problems.push(`dataSource must be a DataSource of TypeORM`);
  }
  for (const [name, value] of Object.entries({ tableName, schema })) {
    if (
      value !== undefined &&
      (!isText(value) || Buffer.byteLength(value) > MAX_NAME || value.includes('\0'))
    ) {
      problems.push(`${name} must be a name of 1 to ${MAX_NAME} bytes`);
    }
  }
  return problems;
}

function checkMemcached({ servers, username, password, keyPrefix }: Options): string[] {
  const problems: string[] = [];
  const list = typeof servers === 'string' ? servers.split(',') : servers;
  if (
    !Array.isArray(list) ||
    list.length === 0 ||
    !list.every(server => isText(server) && SERVER.test(server.trim()))
  ) {
    problems.push(
      `servers must be host:port, or several of them; storageType 'memcached' needs e.g. servers: 'localhost:11211'`,
    );
  }
  if ((username === undefined) !== (password === undefined)) {
    problems.push(`username and password go together; set both, or none`);
  }
  if (keyPrefix !== undefined && !(typeof keyPrefix === 'string' && KEY_PREFIX.test(keyPrefix))) {
    problems.push(`keyPrefix must be at most 150 printable characters without spaces`);
  }
  return problems;
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';

import { SessionException, SessionOptionsException } from '../../exceptions/session.exception.js';
import { describeError } from '../describe-error.js';

type Cause = { code?: string } | undefined;

const NO_SERVER = 'is a server running at the host and port in';
/** By the codes of PostgreSQL and of the system, what may be wrong with the way to the database. */
const UNREACHABLE: Record<string, string> = {
  '28P01': 'check the user and the password in',
  '28000': 'check the user, the password and the encryption (ssl) in',
  '3D000': 'make the database, or name another in',
  '42501': 'the user may not connect to that database: GRANT CONNECT, or name others in',
  '53300': 'it has no connection left; end some, raise max_connections, or set a smaller pool in',
  ECONNREFUSED: NO_SERVER,
  ENOTFOUND: 'no host has the name in',
  EAI_AGAIN: 'no host has the name, or no name server answers; check',
};

/** @param option that says where the database is */
export function describeUnreachable(error: unknown, option: 'url' | 'connection'): SessionException {
  const causes = error instanceof AggregateError ? error.errors : [error];
  const code = causes.map(cause => (cause as Cause)?.code ?? '').find(each => UNREACHABLE[each]);
  const remedy = (code !== undefined && UNREACHABLE[code]) || NO_SERVER;
  return new SessionException(`PostgreSQL cannot be reached: ${describeError(error)}; ${remedy} ${option}`, {
    cause: error,
  });
}

/** What a role needs, in the words of GRANT. */
export const PRIVILEGES = ['SELECT', 'INSERT', 'UPDATE', 'DELETE'];

/**
 * What makes the start fail in the database, as something that can be done.
 * @param name of the table, quoted
 * @param schemaName undefined: the connection's
 * @param role the user of the connection
 */
export function describeRefusal(
  error: unknown,
  name: string,
  schemaName: string | undefined,
  role: string,
): unknown {
  const schema = schemaName === undefined ? 'the schema' : `the schema "${schemaName}"`;
  const migration = 'or run the migrations of nest-sessions/postgresql with another role';
  const remedies: Record<string, string> = {
    '3F000': `${schema} does not exist; make it (CREATE SCHEMA), or set schema to another`,
    '42501': `the role ${role} may not make the table ${name}, or use ${schema}; GRANT USAGE, CREATE ON SCHEMA … TO "${role}", set schema to another, ${migration}`,
    '25006': `the table ${name} is missing, and the server only reads: name the primary one in url or connection, ${migration}`,
  };
  const isOwnersAffair = /must be owner/.test(describeError(error));
  const remedy = isOwnersAffair
    ? `the table ${name} is one of an older version, and the role ${role} does not own it; run the migration AddSessionColumns of nest-sessions/postgresql with the role that does`
    : remedies[(error as Cause)?.code ?? ''];
  return remedy === undefined
    ? error
    : new SessionOptionsException([`${remedy} (${describeError(error)})`], { cause: error });
}

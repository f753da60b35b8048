import { SAME_TIME } from '../clock-offset.js';
import { RECORD_FORMAT } from '../record-format.js';

/**
 * The statements of one sessions table. `$n ms` are milliseconds; all times are the database's, but for those of a
 * `create`, which say by their own `now` how far away they are.
 */
export interface PostgresqlStatements {
  readonly read: string;
  readonly readMany: string;
  readonly lock: string;
  readonly lockMany: string;
  readonly lockOrFind: string;
  readonly renew: string;
  readonly unlock: string;
  readonly unlockAndTouch: string;
  readonly unlockMany: string;
  readonly touch: string;
  readonly create: string;
  readonly save: string;
  readonly saveAndUnlock: string;
  readonly saveAndUnlockMany: string;
  readonly delete: string;
  readonly blocks: string;
  readonly sweep: string;
  readonly sweepDone: string;
  readonly count: string;
  readonly list: string;
  readonly findByOwner: string;
  readonly admission: string;
  readonly keysOfOwner: string;
  readonly lockRows: string;
  readonly deleteOwned: string;
  readonly deleteByOwner: string;
  readonly deleteOneByOwner: string;
}

/**
 * Locks, renewals and touches need not survive a crash of the server: after it, every lock has lapsed, and a
 * session's expiry may be a moment old. They do not wait for the disk; saves, creations and removals do.
 */
const NO_WAIT = `set_config('synchronous_commit', 'off', true)`;

/** Of an owner: all, all but one, or one. */
const OWNED = `owner = $1 AND ($2::text IS NULL OR key <> $2) AND ($3::text IS NULL OR key = $3)`;

/** No session's key: those are hashes. */
const SWEEP_KEY = `'sweep'`;

/** PostgreSQL's, and so more bytes than a value can have. */
export const MAX_INTEGER = 2 ** 31 - 1;

const KNOWN = `format = ${RECORD_FORMAT}`;
const UNEXPIRED = `expires_at > statement_timestamp()`;
/**
 * Data that is larger than any session's is not sent: what comes instead is no data. Its size in the table, where it may be
 * compressed, is looked at first: to unpack it takes the server's time, and memory.
 */
const recordUpTo = (maxBytes: number) => `
  key, CASE WHEN pg_column_size(data) <= ${maxBytes} AND octet_length(data::text) <= ${maxBytes}
    THEN data::text ELSE 'too large' END AS data, owner, timeout, persistent, format,
  (extract(epoch FROM created_at) * 1000)::float8 AS "createdAt",
  (extract(epoch FROM expires_at) * 1000)::float8 AS "expiresAt",
  (extract(epoch FROM last_used_at) * 1000)::float8 AS "lastUsedAt",
  (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now`;
/** What a save, a touch and a creation have in common. */
const USED = `last_used_at = statement_timestamp()`;

const ms = (parameter: string) => `${parameter}::float8 * interval '1 millisecond'`;
const fromNow = (parameter: string) => `statement_timestamp() + ${ms(parameter)}`;
/** clock_timestamp: an update may have waited for another one, and a lease runs from when it was got. */
const leaseFromNow = (parameter: string) => `clock_timestamp() + ${ms(parameter)}`;

/** By the database's clock, a time of the process. @param now of the process, too */
const ownTime = (time: string, now: string) => `to_timestamp(${time}::float8 / 1000) +
  CASE WHEN abs(extract(epoch FROM clock_timestamp()) * 1000 - ${now}::float8) > ${SAME_TIME}
    THEN clock_timestamp() - to_timestamp(${now}::float8 / 1000) ELSE interval '0' END`;

/**
 * At its time, and for a lock from before the server's last start, at once: its end may be what a crash lost. (Its
 * holder can save all the same, if nobody else takes the lock before.)
 */
const LAPSED = `locked_until <= greatest(clock_timestamp(),
  pg_postmaster_start_time() + ${ms(`nullif(split_part(lock_token, ' ', 2), '')`)})`;

/**
 * @param table the quoted name; `lock_token` is a lease's token and its milliseconds
 * @param waitMs how long a statement may wait for a row. One that is given up goes on in the server: it would take a lock,
 * or remove a session, when the row is free at last, and everybody has been told that it failed.
 * @param maxBytes of data that is read
 */
export function postgresqlStatements(
  table: string,
  waitMs: number,
  maxBytes = MAX_INTEGER,
): PostgresqlStatements {
  const RECORD = recordUpTo(maxBytes);
  // In the statement itself, as it may have its connection for itself alone. Rows are looked at before they are waited for.
  const BOUNDED = `set_config('lock_timeout', '${Math.ceil(waitMs)}', true) IS NOT NULL`;
  const SAVE = `UPDATE ${table} SET data = $3, owner = $4, timeout = $5, persistent = $6, expires_at = ${fromNow('$7')}, ${USED}`;
  const LOCK = `UPDATE ${table} SET lock_token = $2, locked_until = ${leaseFromNow('$3')}
      WHERE key = $1 AND ${UNEXPIRED} AND ${BOUNDED}
        AND (lock_token IS NULL OR lock_token = $2 OR ${LAPSED})
      RETURNING ${RECORD}, ${NO_WAIT}`;
  const HELD = `WHERE key = $1 AND lock_token = $2 AND ${UNEXPIRED} AND ${BOUNDED}`;
  /** `seen`: those that were there as it began; `gone`: those that it removed. */
  const deleteOwned = (
    lock: string,
  ) => `WITH seen AS (SELECT count(*)::int AS n FROM ${table} WHERE ${OWNED}),
      owned AS MATERIALIZED (SELECT key FROM ${table} WHERE ${OWNED} AND ${BOUNDED} ${lock}),
      gone AS (DELETE FROM ${table} AS stored USING owned WHERE stored.key = owned.key RETURNING ${UNEXPIRED} AS live)
      SELECT (SELECT n FROM seen) AS seen, count(*)::int AS gone, count(*) FILTER (WHERE live)::int AS live FROM gone`;
  return {
    read: `SELECT ${RECORD} FROM ${table} WHERE key = $1 AND ${UNEXPIRED}`,
    readMany: `SELECT ${RECORD} FROM unnest($1::text[]) AS asked (a_key) JOIN ${table} ON key = a_key WHERE ${UNEXPIRED}`,
    lock: LOCK,
    // Parallel arrays, an entry a session.
    lockMany: `UPDATE ${table} SET lock_token = a_token, locked_until = ${leaseFromNow('a_ms')}
      FROM unnest($1::text[], $2::text[], $3::float8[]) AS asked (a_key, a_token, a_ms)
      WHERE key = a_key AND ${UNEXPIRED} AND ${BOUNDED} AND (lock_token IS NULL OR lock_token = a_token OR ${LAPSED})
      RETURNING lock_token AS token, ${RECORD}, ${NO_WAIT}`,
    // Who waits asks again with this. No row: no session; no data: busy. It waits for no row: one that another statement
    // is at is busy. The last SELECT sees the session as it was when the statement began, so it only says that there is
    // one: the record is the UPDATE's, the newest.
    lockOrFind: `WITH asked AS (
        SELECT * FROM unnest($1::text[], $2::text[], $3::float8[]) AS asked (a_key, a_token, a_ms)),
      free AS MATERIALIZED (
        SELECT a_key, a_token, a_ms FROM asked JOIN ${table} AS stored ON key = a_key
        WHERE ${UNEXPIRED} AND (lock_token IS NULL OR lock_token = a_token OR ${LAPSED})
        FOR UPDATE OF stored SKIP LOCKED),
      locked AS (
        UPDATE ${table} SET lock_token = a_token, locked_until = ${leaseFromNow('a_ms')}
        FROM free WHERE key = a_key RETURNING lock_token, ${RECORD}, ${NO_WAIT})
      SELECT a_token AS token, locked.* FROM asked JOIN ${table} AS found ON key = a_key AND found.${UNEXPIRED}
        LEFT JOIN locked ON locked.lock_token = a_token`,
    renew: `UPDATE ${table} SET locked_until = ${leaseFromNow('$3')} ${HELD} RETURNING ${NO_WAIT}`,
    unlock: `UPDATE ${table} SET lock_token = NULL, locked_until = NULL ${HELD} RETURNING ${NO_WAIT}`,
    unlockAndTouch: `UPDATE ${table} SET lock_token = NULL, locked_until = NULL, expires_at = ${fromNow('$3')}, ${USED}
      ${HELD} RETURNING ${NO_WAIT}`,
    unlockMany: `UPDATE ${table} SET lock_token = NULL, locked_until = NULL,
        expires_at = coalesce(${fromNow('a_ttl')}, expires_at),
        last_used_at = CASE WHEN a_ttl IS NULL THEN last_used_at ELSE statement_timestamp() END
      FROM unnest($1::text[], $2::text[], $3::float8[]) AS asked (a_key, a_token, a_ttl)
      WHERE key = a_key AND lock_token = a_token AND ${UNEXPIRED} AND ${BOUNDED} RETURNING ${NO_WAIT}`,
    touch: `UPDATE ${table} SET expires_at = ${fromNow('$2')}, ${USED}
      WHERE key = $1 AND ${UNEXPIRED} AND ${BOUNDED} RETURNING ${NO_WAIT}`,
    create: `INSERT INTO ${table} AS old
      (key, data, owner, timeout, persistent, created_at, expires_at, last_used_at, format, lock_token, locked_until)
      VALUES ($1, $2, $3, $4, $5, coalesce(${ownTime('$6', '$10')}, statement_timestamp()), ${fromNow('$7')},
        statement_timestamp(), ${RECORD_FORMAT}, $8, ${leaseFromNow('$9')})
      ON CONFLICT (key) DO UPDATE SET
        (data, owner, timeout, persistent, created_at, expires_at, last_used_at, format, lock_token, locked_until) =
        (excluded.data, excluded.owner, excluded.timeout, excluded.persistent, excluded.created_at, excluded.expires_at,
          excluded.last_used_at, excluded.format, excluded.lock_token, excluded.locked_until)
        WHERE old.expires_at <= statement_timestamp()`,
    save: `${SAVE}, locked_until = ${leaseFromNow('$8')} ${HELD}`,
    saveAndUnlock: `${SAVE}, lock_token = NULL, locked_until = NULL ${HELD}`,
    saveAndUnlockMany: `UPDATE ${table} SET data = a_data, owner = a_owner, timeout = a_timeout, persistent = a_persistent,
        expires_at = ${fromNow('a_ttl')}, ${USED}, lock_token = NULL, locked_until = NULL
      FROM unnest($1::text[], $2::text[], $3::json[], $4::text[], $5::float8[], $6::boolean[], $7::float8[])
        AS asked (a_key, a_token, a_data, a_owner, a_timeout, a_persistent, a_ttl)
      WHERE key = a_key AND lock_token = a_token AND ${UNEXPIRED} AND ${BOUNDED} RETURNING a_token AS token`,
    delete: `DELETE FROM ${table} WHERE key = $1 AND ($2::text IS NULL OR lock_token = $2) AND ${BOUNDED}
      RETURNING ${UNEXPIRED} AS live`,
    blocks: `SELECT (pg_relation_size($1::regclass) / current_setting('block_size')::int)::int AS blocks`,
    // By where rows lie, so that no index on the expiry is needed: one would cost every save and touch. Who sweeps
    // holds the lock of a row of its own, of an expired session to all others: no other lock lasts from one statement
    // to the next behind a proxy that pools transactions. No row comes back if another process holds it.
    sweep: `WITH turn AS (
        INSERT INTO ${table} AS old (key, data, created_at, expires_at, lock_token, locked_until)
        VALUES (${SWEEP_KEY}, '{}', statement_timestamp(), '-infinity', $3, ${leaseFromNow('$4')})
        ON CONFLICT (key) DO UPDATE SET (lock_token, locked_until) = (excluded.lock_token, excluded.locked_until)
          WHERE old.lock_token = $3 OR old.locked_until <= clock_timestamp()
        RETURNING ${NO_WAIT}),
      removed AS (
        DELETE FROM ${table} WHERE ctid >= $1::tid AND ctid < $2::tid AND expires_at <= statement_timestamp()
          AND key <> ${SWEEP_KEY} AND EXISTS (SELECT FROM turn) RETURNING 1)
      SELECT (SELECT count(*)::int FROM removed) AS removed FROM turn`,
    sweepDone: `DELETE FROM ${table} WHERE key = ${SWEEP_KEY} AND lock_token = $1 RETURNING ${NO_WAIT}`,
    count: `SELECT count(*)::int AS count FROM ${table} WHERE ${UNEXPIRED}`,
    // Without what is no session's, and what a later version stored: it is no reason to give none of the others.
    list: `SELECT ${RECORD} FROM ${table} WHERE key > $1 AND ${UNEXPIRED} AND ${KNOWN} AND length(key) = 43
      ORDER BY key LIMIT $2`,
    findByOwner: `SELECT ${RECORD} FROM ${table} WHERE owner = $1 AND ${UNEXPIRED} AND ${KNOWN} ORDER BY created_at, key`,
    // Until the end of the transaction, no other session becomes the owner's. The server ends that of a process that
    // stands still, before those who wait for it give up.
    admission: `SELECT pg_advisory_xact_lock($1) WHERE ${BOUNDED} AND
      set_config('idle_in_transaction_session_timeout', '${Math.ceil(waitMs / 2)}', true) IS NOT NULL`,
    keysOfOwner: `SELECT key FROM ${table} WHERE owner = $1 AND ${UNEXPIRED} ORDER BY created_at, key`,
    // In the order of keys, as all that locks several rows.
    lockRows: `SELECT key FROM ${table} WHERE key = ANY($1::text[]) ORDER BY key FOR UPDATE`,
    deleteOwned: `DELETE FROM ${table} WHERE key = ANY($1::text[]) AND owner = $2`,
    // Neither waits for a row while it has another: those that lock several rows would wait for each other.
    deleteByOwner: deleteOwned('FOR UPDATE SKIP LOCKED'),
    deleteOneByOwner: deleteOwned('LIMIT 1 FOR UPDATE'),
  };
}

/** As an SQL identifier, whatever is in it. */
export const quoteIdentifier = (name: string): string => `"${name.replaceAll('"', '""')}"`;

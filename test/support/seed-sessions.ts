import type { Client } from 'pg';

/** The id of the n-th session of `seedSessions`. */
export const seededId = (n: number): string => `session-${n}`.padEnd(43, '_');

/**
 * Fills an empty sessions table: sessions 1 to `count`, of which every other one has expired (the odd ones), mixed
 * as they lie in a table that is in use.
 * @param data as it is stored, JSON
 */
export async function seedSessions(
  client: Client,
  table: string,
  count: number,
  data: string,
): Promise<void> {
  await client.query(
    `INSERT INTO ${table} (key, data, owner, created_at, expires_at)
      SELECT translate(rtrim(encode(sha256(rpad('session-' || n, 43, '_')::bytea), 'base64'), '='), '+/', '-_'),
        $2::json, 'owner-' || n % 1000, now() - interval '2 hours',
        now() + CASE n % 2 WHEN 0 THEN interval '1 day' ELSE interval '-1 minute' END
      FROM generate_series(1, $1::int) AS n`,
    [count, data],
  );
  await client.query(`VACUUM ANALYZE ${table}`);
}

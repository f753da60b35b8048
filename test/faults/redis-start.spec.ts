import { Logger } from '@nestjs/common';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openBackendOf } from '../support/open-backend.js';
import { redisCommand } from '../support/redis-cluster.js';
import { freePort, startRedisServer, type TestServer } from '../support/servers.js';
import { isTested } from '../support/storage-names.js';
import { newKey, writeOf } from '../contract/fixtures.js';

describe.runIf(isTested('redis'))('a start on Redis', () => {
  let server: TestServer & { url: string };
  beforeEach(async () => {
    server = await startRedisServer();
  });
  afterEach(() => server.close());

  const start = (more: object = { url: server.url }) =>
    openBackendOf({ storageType: 'redis', storageTimeout: 1, ...more }).then(
      async backend => {
        await backend.close();
        return 'started';
      },
      (error: unknown) => String(error),
    );
  const as = (user: string) => server.url.replace('//', `//${user}@`);

  it('without a server: names url', async () => {
    const url = `redis://127.0.0.1:${await freePort()}`;
    expect(await start({ url })).toMatch(
      /Redis cannot be reached: connect ECONNREFUSED 127.0.0.1:\d+; is a server running at the host and port in url/,
    );
    expect(await start({ url: 'unix:/nowhere.sock' })).toMatch(/is a server running at the socket in url/);
  });

  it('with a wrong password, or none: says so, and not which', async () => {
    await redisCommand(server, 'CONFIG', 'SET', 'requirepass', 'open-sesame');
    expect(await start()).toMatch(/NOAUTH.*check the user and the password in url/);
    const refused = await start({ url: as('default:hush') });
    expect(refused).toMatch(/WRONGPASS.*check the user and the password in url/);
    expect(refused).not.toContain('hush');
    expect(await start({ url: as('default:open-sesame') })).toBe('started');
  });

  it('as a user of an ACL: with the rights that the docs name; without one of them, says what is missing', async () => {
    const rules =
      '~session:* &session:* +@hash +@sortedset +@scripting +@keyspace +@connection +publish +subscribe +time';
    const grant = (...more: string[]) =>
      redisCommand(server, 'ACL', 'SETUSER', 'ann', 'reset', 'on', '>pass', ...rules.split(' '), ...more);
    await grant('+info');
    expect(await start({ url: as('ann:pass') })).toBe('started');
    await grant('-eval', '-evalsha');
    expect(await start({ url: as('ann:pass') })).toMatch(/NOPERM.*let its user do it: ACL SETUSER/);
    await grant('resetkeys', '~other:*');
    expect(await start({ url: as('ann:pass') })).toMatch(/NOPERM.*~session:\*/i);
    await grant('resetchannels');
    expect(await start({ url: as('ann:pass') })).toMatch(/NOPERM|channel/);
  });

  it('on a replica: names the primary server as what is needed', async () => {
    await redisCommand(server, 'REPLICAOF', '127.0.0.1', String(await freePort()));
    expect(await start()).toMatch(/READONLY.*url leads to a replica; name the primary server/);
  });

  it('on one server of a cluster: says what to give', async () => {
    const one = await startRedisServer({
      args: ['--cluster-enabled', 'yes', '--cluster-port', String(await freePort())],
    });
    expect(await start({ url: one.url })).toMatch(
      /url leads to one server of a cluster; give a client of the whole/,
    );
    await one.close();
  });

  it('with a client that is not connected, or has a prefix of its own', async () => {
    expect(await start({ client: createClient({ url: server.url }) })).toMatch(
      /client is not connected; connect it before/,
    );
    const client = new Redis(server.url, { keyPrefix: 'app:' });
    expect(await start({ client })).toMatch(/client has a keyPrefix/);
    client.disconnect();
  });

  it('with an eviction policy that may remove sessions: warns once', async () => {
    const warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue();
    try {
      expect(await start()).toBe('started');
      expect(warn).not.toHaveBeenCalled();
      await redisCommand(server, 'CONFIG', 'SET', 'maxmemory', '100mb', 'maxmemory-policy', 'volatile-lru');
      expect(await start()).toBe('started');
      expect(warn.mock.calls.join()).toMatch(/maxmemory-policy is volatile-lru; set noeviction/);
    } finally {
      warn.mockRestore();
    }
  });

  it('by a Unix socket and a database number: sessions are there', async () => {
    const socket = `/tmp/nest-sessions-${newKey()}.sock`;
    const other = await startRedisServer({ args: ['--unixsocket', socket] });
    const backend = await openBackendOf({ storageType: 'redis', url: `unix:${socket}?db=3` });
    const key = newKey();
    await backend.create(key, writeOf('{}'));
    await backend.close();
    expect(await redisCommand({ url: `${other.url}/3` }, 'EXISTS', `session:${key}`)).toBe(1);
    await other.close();
  });
});

import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SessionBackend } from 'nest-sessions';
import { UnsentRequestException } from '../../lib/storage/unsent-request.exception.js';
import { LONG, newKey, newLease, writeOf } from '../contract/fixtures.js';
import { openBackendOf } from '../support/open-backend.js';
import { redisCommand } from '../support/redis-cluster.js';
import { freePort, startRedisServer, type TestServer } from '../support/servers.js';
import { isTested } from '../support/storage-names.js';

const SECOND = { storageTimeout: 1 };

describe.runIf(isTested('redis'))('invariant 4, storage trouble is not absence: Redis', () => {
  let server: TestServer & { url: string };
  let backend: SessionBackend;
  const key = newKey();
  beforeEach(async () => {
    server = await startRedisServer({ isDurable: true });
    backend = await openBackendOf({ storageType: 'redis', url: server.url, ...SECOND });
    await backend.create(key, writeOf('1'));
  });
  afterEach(async () => {
    await backend.close();
    await server.close();
  });
  const command = (...args: [string, ...string[]]) => redisCommand(server, ...args);

  it('a full server refuses saves, and frees locks; what was stored stays', async () => {
    const lease = newLease();
    await backend.lock(key, lease);
    await command('CONFIG', 'SET', 'maxmemory', '1');
    for (const refused of [
      () => backend.save(key, writeOf('2'), lease, { unlock: true }),
      () => backend.create(newKey(), writeOf('1')),
      () => backend.create(newKey(), writeOf('1', { owner: 'ann' })),
    ]) {
      await expect(refused()).rejects.toThrow(UnsentRequestException);
    }
    expect((await backend.read(key))?.data).toBe('1');
    await backend.unlock(key, lease, LONG);
    await command('CONFIG', 'SET', 'maxmemory', '0');
    expect(await backend.lock(key, newLease())).toMatchObject({ data: '1' });
  });

  it('a server that has become a replica refuses; service is back when the url leads to a primary one', async () => {
    await command('REPLICAOF', '127.0.0.1', String(await freePort()));
    await expect(backend.lock(key, newLease())).rejects.toThrow(UnsentRequestException);
    await command('REPLICAOF', 'NO', 'ONE');
    await expect.poll(() => backend.touch(key, LONG).catch(() => false), { timeout: 2000 }).toBe(true);
  });

  it('scripts that the server has forgotten are sent whole', async () => {
    await command('SCRIPT', 'FLUSH');
    expect(await backend.lock(key, newLease())).toMatchObject({ data: '1' });
  });

  it('a client that keeps commands for later is given none while it is offline: what was refused is not done then', async () => {
    const client = new Redis(server.url, { maxRetriesPerRequest: null }); // as BullMQ has it
    client.on('error', () => undefined);
    const other = await openBackendOf({ storageType: 'redis', client, ...SECOND });
    const lease = newLease();
    await other.lock(key, lease);
    await server.kill();
    await expect.poll(() => client.status).not.toBe('ready');
    const refused = other.save(key, writeOf('late'), lease, { unlock: true });
    await expect(refused).rejects.toThrow(UnsentRequestException);
    await server.start();
    await expect.poll(() => client.status).toBe('ready');
    await sleep(300);
    expect((await other.read(key))?.data).toBe('1');
    expect(await other.save(key, writeOf('2'), lease, { unlock: true })).toBe(true);
    await other.close();
    client.disconnect();
  });

  it('a lock that is freed wakes a waiter at once; also one that is removed, and one that lapses', async () => {
    const woken: string[] = [];
    const waiting = await openBackendOf({ storageType: 'redis', url: server.url });
    waiting.onFreed!(freed => woken.push(freed));
    const endings: ((held: ReturnType<typeof newLease>) => Promise<unknown>)[] = [
      lease => backend.unlock(key, lease),
      lease => backend.save(key, writeOf('2'), lease, { unlock: true }),
      () => backend.delete(key),
    ];
    for (const end of endings) {
      const lease = newLease();
      await backend.lock(key, lease);
      expect(await waiting.lock(key, newLease())).toBe('busy');
      const before = woken.length;
      await end(lease);
      await expect.poll(() => woken.slice(before), { timeout: 200, interval: 2 }).toEqual([key]);
    }
    await backend.create(key, writeOf('1'), newLease(100));
    expect(await waiting.lock(key, newLease())).toBe('busy');
    await expect.poll(() => woken.length, { timeout: 300, interval: 2 }).toBe(endings.length + 1);
    await waiting.close();
  });

  it('an index forgets no session that lives, and keeps none that has gone', async () => {
    const owner = 'ann';
    const keys = () => backend.findByOwner!(owner).then(found => found.map(each => each.key));
    const index = async () => {
      const names: string[] = await command('KEYS', 'session:owner:*');
      return names.length === 0 ? [] : command('ZRANGE', names[0]!, '0', '-1', 'WITHSCORES');
    };
    const [touched, saved, gone] = [newKey(), newKey(), newKey()];
    for (const each of [touched, saved, gone]) {
      await backend.create(each, writeOf('1', { owner, ttl: 60_000 }));
    }
    await backend.delete(gone);
    await expect.poll(index).toHaveLength(4);
    const lease = newLease();
    await backend.lock(saved, lease);
    await backend.touch(touched, 10 * 60_000); // beyond what its hint says
    await backend.save(saved, writeOf('2', { owner, ttl: 20 * 60_000 }), lease, { unlock: false });
    await backend.unlock(saved, lease, 100 * 60_000);
    const entries: string[] = await index();
    const livesUntil = async (each: string) => Date.now() + (await command('PTTL', `session:${each}`));
    for (const each of [touched, saved]) {
      expect(Number(entries[entries.indexOf(each) + 1])).toBeGreaterThan(await livesUntil(each));
    }
    expect((await keys()).sort()).toEqual([touched, saved].sort());
    expect(await backend.deleteByOwner!(owner)).toBe(2);
    expect(await index()).toEqual([]);
  });
});

import * as fc from 'fast-check';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import type { Lease, SessionBackend, SessionWrite } from 'nest-sessions';
import { newKey, newLease, TOLERANCE } from './fixtures.js';

const HOUR = 3_600_000;

/** What a storage should hold under a key. */
interface ModelRecord {
  data: string;
  owner: string | undefined;
  timeout: number | undefined;
  createdAt: number;
  /** Earliest; TOLERANCE later at most. */
  expiresAt: number;
  expired: boolean;
  holder: Lease | undefined;
  /** The holder's lease is over: anyone may take the lock, and until then the holder may have it or not. */
  lapsed: boolean;
}

export type Model = Map<number, ModelRecord>;

export interface Real {
  clients: SessionBackend[];
  keys: string[];
  /** Two long leases, then two that lapse at once. */
  leases: Lease[];
}

export const newReal = (clients: SessionBackend[]): Real => ({
  clients,
  keys: [newKey(), newKey()],
  leases: [newLease(HOUR), newLease(HOUR), newLease(1), newLease(1)],
});

/** Long enough for a millisecond's lease or time to live to be over. */
const passTime = () => sleep(8);

type Run = (model: Model, real: Real) => Promise<void>;

class Command implements fc.AsyncCommand<Model, Real> {
  constructor(
    private readonly name: string,
    private readonly args: unknown,
    private readonly act: Run,
  ) {}

  check(): boolean {
    return true;
  }

  async run(model: Model, real: Real): Promise<void> {
    await this.act(model, real);
    await expectSame(model, real);
  }

  toString(): string {
    return `${this.name}(${JSON.stringify(this.args)})`;
  }
}

const alive = (model: Model, key: number) => {
  const record = model.get(key);
  return record?.expired ? undefined : record;
};

/** Everything that can be read agrees with the model, through both clients. */
async function expectSame(model: Model, { clients, keys }: Real): Promise<void> {
  const indexes = keys.map((_, index) => index);
  for (const client of clients) {
    for (const index of indexes) {
      const expected = alive(model, index);
      const record = await client.read(keys[index]!);
      expect(record?.data).toBe(expected?.data);
      if (record && expected) {
        const { data, owner, timeout, createdAt } = expected;
        expect(record).toMatchObject({ data, createdAt });
        expect([record.owner, record.timeout]).toEqual([owner, timeout]);
        expect(record.expiresAt - expected.expiresAt).toBeGreaterThan(-TOLERANCE);
        expect(record.expiresAt - expected.expiresAt).toBeLessThan(TOLERANCE);
      }
    }
    const count = await client.count?.();
    expect(count ?? 0).toBe(count === undefined ? 0 : indexes.filter(index => alive(model, index)).length);
    for (const owner of client.findByOwner ? OWNERS : []) {
      const found = await client.findByOwner!(owner);
      const expected = indexes.filter(index => alive(model, index)?.owner === owner);
      expect(found.map(each => each.key).sort()).toEqual(expected.map(index => keys[index]!).sort());
      const ages = found.map(each => each.record.createdAt);
      expect(ages).toEqual([...ages].sort((a, b) => a - b));
    }
  }
}

const OWNERS = ['', 'ann'];
const client = fc.nat(1);
const key = fc.nat(1);
const lease = fc.nat(3);
const ttl = fc.constantFrom(HOUR, 5 * HOUR, 400 * 24 * HOUR);
const write = fc.record({
  data: fc.string({ unit: 'binary' }),
  owner: fc.constantFrom(undefined, ...OWNERS),
  timeout: fc.constantFrom(undefined, 1, 43_200),
  createdAt: fc.constantFrom(1_000_000_000_000, 1_000_000_000_001, 1_700_000_000_000),
  ttl,
});

const command = <T>(
  name: string,
  args: fc.Arbitrary<T>,
  act: (args: T, model: Model, real: Real) => Promise<void>,
) => args.map(value => new Command(name, value, (model, real) => act(value, model, real)));

/** A lease is of one process: the client that makes it is the only one that uses it. */
const ownerOf = (lease: number, { clients }: Real): SessionBackend => clients[lease % 2]!;

/** Applies a write that the storage accepted. */
const apply = (record: ModelRecord, { data, owner, timeout, ttl }: SessionWrite) =>
  Object.assign(record, { data, owner, timeout, expiresAt: Date.now() + ttl });

/** What the storage said of a lease that holds the lock for sure, not at all, or perhaps. */
function expectHeld(said: boolean, record: ModelRecord | undefined, token: Lease): void {
  if (record?.holder !== token || !record.lapsed) {
    expect(said).toBe(record?.holder === token);
  }
}

export const COMMANDS: fc.Arbitrary<fc.AsyncCommand<Model, Real>>[] = [
  command(
    'create',
    fc.record({ client, key, write, lease: fc.option(fc.nat(1)) }),
    async (a, model, real) => {
      const token = a.lease === null ? undefined : real.leases[a.lease];
      // A lease is new when a record is created with it: never one that has this key's lock.
      const holder = model.get(a.key)?.holder === token ? undefined : token;
      const client = a.lease === null ? real.clients[a.client]! : ownerOf(a.lease, real);
      const created = await client.create(real.keys[a.key]!, a.write, holder);
      expect(created).toBe(!alive(model, a.key));
      if (created) {
        const { createdAt } = a.write;
        const record = { createdAt, expired: false, holder, lapsed: false } as ModelRecord;
        model.set(a.key, apply(record, a.write));
      }
    },
  ),

  command('lock', fc.record({ key, lease }), async (a, model, real) => {
    const token = real.leases[a.lease]!;
    const result = await ownerOf(a.lease, real).lock(real.keys[a.key]!, token);
    const record = alive(model, a.key);
    if (record?.holder && record.holder !== token && !record.lapsed) {
      expect(result).toBe('busy');
    } else if (record) {
      expect(result).toMatchObject({ data: record.data, createdAt: record.createdAt });
      record.holder = token;
      record.lapsed = token.ms === 1;
      await passTime();
    } else {
      expect(result).toBeUndefined();
    }
  }),

  command('renew', fc.record({ key, lease }), async (a, model, real) => {
    const token = real.leases[a.lease]!;
    const renewed = await ownerOf(a.lease, real).renew(real.keys[a.key]!, token);
    expectHeld(renewed, alive(model, a.key), token);
    await passTime();
  }),

  command('unlock', fc.record({ key, lease, ttl: fc.option(ttl) }), async (a, model, real) => {
    const token = real.leases[a.lease]!;
    const record = alive(model, a.key);
    if (record?.holder === token && record.lapsed) {
      return; // it may move the expiry or not
    }
    await ownerOf(a.lease, real).unlock(real.keys[a.key]!, token, a.ttl ?? undefined);
    if (record?.holder === token) {
      record.holder = undefined;
      record.expiresAt = a.ttl === null ? record.expiresAt : Date.now() + a.ttl;
    }
  }),

  command('save', fc.record({ key, lease, write, unlock: fc.boolean() }), async (a, model, real) => {
    const token = real.leases[a.lease]!;
    const record = alive(model, a.key);
    const data = { ...a.write, createdAt: record?.createdAt };
    const saved = await ownerOf(a.lease, real).save(real.keys[a.key]!, data, token, { unlock: a.unlock });
    expectHeld(saved, record, token);
    if (saved && record) {
      apply(record, data);
      record.holder = a.unlock ? undefined : token;
      await passTime();
    }
  }),

  command('touch', fc.record({ client, key, ttl }), async (a, model, real) => {
    const touched = await real.clients[a.client]!.touch(real.keys[a.key]!, a.ttl);
    const record = alive(model, a.key);
    expect(touched).toBe(record !== undefined);
    if (record) {
      record.expiresAt = Date.now() + a.ttl;
    }
  }),

  command('expire', fc.record({ client, key }), async (a, model, real) => {
    const touched = await real.clients[a.client]!.touch(real.keys[a.key]!, 1);
    const record = alive(model, a.key);
    expect(touched).toBe(record !== undefined);
    if (record) {
      record.expired = true;
      await passTime();
    }
  }),

  command('delete', fc.record({ client, key }), async (a, model, real) => {
    const deleted = await real.clients[a.client]!.delete(real.keys[a.key]!);
    expect(deleted).toBe(alive(model, a.key) !== undefined);
    model.delete(a.key);
  }),

  command('delete with a lease', fc.record({ key, lease }), async (a, model, real) => {
    const token = real.leases[a.lease]!;
    const deleted = await ownerOf(a.lease, real).delete(real.keys[a.key]!, token);
    expectHeld(deleted, alive(model, a.key), token);
    if (deleted) {
      model.delete(a.key);
    }
  }),

  command('cleanUp', client, async (index, model, real) => {
    const expired = [...model].filter(([, record]) => record.expired).map(([key]) => key);
    // A storage may have dropped what expired before it was asked to.
    expect(await real.clients[index]!.cleanUp()).toBeLessThanOrEqual(expired.length);
    for (const key of expired) {
      model.delete(key);
    }
  }),

  command(
    'deleteByOwner',
    fc.record({ client, owner: fc.constantFrom(...OWNERS), except: fc.option(key), only: fc.option(key) }),
    async (a, model, real) => {
      const backend = real.clients[a.client]!;
      const nameOf = (index: number | null) => (index === null ? undefined : real.keys[index]);
      const options = { except: nameOf(a.except), only: nameOf(a.only) };
      const doomed = [0, 1].filter(
        index =>
          alive(model, index)?.owner === a.owner &&
          index !== a.except &&
          (a.only === null || index === a.only),
      );
      if (backend.deleteByOwner) {
        expect(await backend.deleteByOwner(a.owner, options)).toBe(doomed.length);
        for (const index of doomed) {
          model.delete(index);
        }
      }
    },
  ),
];

import * as fc from 'fast-check';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { RamBackend } from '../../lib/storage/ram/ram.backend.js';
import { newLease, times } from '../contract/fixtures.js';
import { inLong } from '../support/long.js';

const HOUR = 3_600_000;
const write = (owner?: string) => ({ data: '{}', owner, ttl: HOUR });
const keyOf = (name: string | number) => String(name).padStart(43, 'k');

const FLOOD = 200_000;
const OWNERS = times(40, index => keyOf(`owned-${index}`));

async function leftOf(backend: RamBackend, keys: string[]): Promise<string[]> {
  const records = await Promise.all(keys.map(key => backend.read(key)));
  return keys.filter((_, index) => records[index]);
}

describe('ram, beyond maxSessions', () => {
  afterEach(() => void vi.restoreAllMocks());

  it(`who is logged in stays so in a flood of ${FLOOD} anonymous sessions, used or not`, async () => {
    const backend = new RamBackend(1_000);
    for (const key of OWNERS) {
      await backend.create(key, write('ann'));
    }
    for (let index = 0; index < FLOOD; index++) {
      await backend.create(keyOf(index), write());
    }
    expect(await leftOf(backend, OWNERS)).toEqual(OWNERS);
    expect(await backend.findByOwner('ann')).toHaveLength(40);
    expect(await backend.count()).toBe(1_000);
  });

  it.each([
    ['with owners', 'ann'],
    ['without', undefined],
  ])('what has expired goes before what lives: expired ones %s', async (_kind, owner) => {
    const backend = new RamBackend(100);
    for (let index = 0; index < 100; index++) {
      await backend.create(keyOf(`dead-${index}`), { ...write(owner), ttl: 1 });
    }
    await sleep(10);
    for (let index = 0; index < 50; index++) {
      await backend.create(keyOf(`alive-${index}`), write(owner && undefined));
    }
    expect(await backend.count()).toBe(50);
  });

  it('a session that gets a new id pushes nobody out, itself included', async () => {
    for (const maxSessions of [1, 2]) {
      const backend = new RamBackend(maxSessions);
      const [old, fresh, other] = ['old', 'fresh', 'other'].map(keyOf) as [string, string, string];
      await backend.create(old, write('ann'));
      if (maxSessions > 1) {
        await backend.create(other, write('bob'));
      }
      expect(await backend.create(fresh, { ...write('ann'), replaces: old })).toBe(true);
      expect(await backend.delete(old)).toBe(true);
      expect(await backend.count()).toBe(maxSessions);
    }
  });

  /** Each is a use of a session, as long as it is anonymous or all have owners. */
  const lease = newLease();
  const USES: Record<string, (backend: RamBackend, key: string) => Promise<unknown>> = {
    'a read': (backend, key) => backend.read(key),
    'a touch': (backend, key) => backend.touch(key, HOUR),
    'a lock that is given back': async (backend, key) => {
      await backend.lock(key, lease);
      await backend.unlock(key, lease);
    },
    'a save': async (backend, key) => {
      const { owner } = (await backend.lock(key, lease)) as { owner?: string };
      await backend.save(key, write(owner), lease, { unlock: true });
    },
  };
  describe.each([
    ['anonymous', undefined],
    ['owned', 'ann'],
  ])('the one that was used longest ago goes, of %s ones', (_kind, owner) => {
    it.each(Object.entries(USES))('%s is a use', async (_name, use) => {
      const backend = new RamBackend(3);
      const [a, b, c, more] = ['a', 'b', 'c', 'more'].map(keyOf) as [string, string, string, string];
      for (const key of [a, b, c]) {
        await backend.create(key, write(owner));
      }
      await use(backend, a);
      await backend.create(more, write(owner));
      expect(await leftOf(backend, [a, b, c, more])).toEqual([a, c, more]);
    });
  });

  it('no collection is walked to find the one that goes: the cost of a creation does not depend on what went before', async () => {
    const backend = new RamBackend(100);
    const walks = [Map, Set].flatMap(({ prototype }) =>
      (['keys', 'values', 'entries', 'forEach', Symbol.iterator] as const).map(method =>
        vi.spyOn(prototype as Map<string, string>, method as 'keys'),
      ),
    );
    for (let index = 0; index < 10_000; index++) {
      await backend.create(keyOf(index), write(index % 2 ? 'ann' : undefined));
    }
    const calls = walks.reduce((sum, walk) => sum + walk.mock.calls.length, 0);
    vi.restoreAllMocks();
    expect(calls).toBe(0);
    expect(await backend.count()).toBe(100);
  });

  /** What each key's session is, and when it was used last; the rule as it is documented. */
  class Model {
    readonly sessions = new Map<string, { owner?: string | undefined; usedAt: number; token?: string }>();
    private now = 0;

    constructor(private readonly max: number) {}

    use(key: string, change: { owner?: string | undefined; token?: string | undefined }): void {
      const known = this.sessions.get(key);
      if (!known && this.sessions.size === this.max) {
        this.sessions.delete(this.victim());
      }
      this.sessions.set(key, { ...known, ...change, usedAt: ++this.now } as never);
    }

    private victim(): string {
      const rank = ({ owner, token }: { owner?: string | undefined; token?: string | undefined }) =>
        token !== undefined ? 2 : owner === undefined ? 0 : 1;
      const [first] = Array.from(this.sessions).toSorted(
        ([, a], [, b]) => rank(a) - rank(b) || a.usedAt - b.usedAt,
      );
      return first![0];
    }
  }

  const key = fc.nat(9).map(keyOf);
  const owner = fc.constantFrom(undefined, undefined, 'ann', 'bob');
  const step = fc.oneof(
    fc.record({ do: fc.constant('create' as const), key, owner, locked: fc.boolean() }),
    fc.record({ do: fc.constantFrom('read', 'touch', 'lock', 'unlock', 'delete'), key }),
    fc.record({ do: fc.constant('save' as const), key, owner, unlock: fc.boolean() }),
  );

  it('those without an owner go first, those in use last, each in the order of use: drawn sequences', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 80 }), async steps => {
        const backend = new RamBackend(4);
        const model = new Model(4);
        for (const each of steps) {
          const known = model.sessions.get(each.key);
          const own = { token: 'holder', ms: HOUR };
          switch (each.do) {
            case 'create':
              expect(await backend.create(each.key, write(each.owner), each.locked ? own : undefined)).toBe(
                !known,
              );
              if (!known) {
                model.use(each.key, { owner: each.owner, token: each.locked ? own.token : undefined });
              }
              break;
            case 'save': {
              const isSaved = await backend.save(each.key, write(each.owner), own, { unlock: each.unlock });
              expect(isSaved).toBe(known?.token !== undefined);
              if (isSaved) {
                model.use(each.key, { owner: each.owner, token: each.unlock ? undefined : own.token });
              }
              break;
            }
            case 'delete':
              await backend.delete(each.key);
              model.sessions.delete(each.key);
              break;
            case 'unlock':
              await backend.unlock(each.key, own);
              if (known?.token !== undefined) {
                model.use(each.key, { token: undefined });
              }
              break;
            case 'lock':
              await backend.lock(each.key, own);
              if (known) {
                model.use(each.key, { token: own.token });
              }
              break;
            case 'touch':
              await backend.touch(each.key, HOUR);
              if (known) {
                model.use(each.key, {});
              }
              break;
            default:
              await backend.read(each.key);
              if (known) {
                model.use(each.key, {});
              }
          }
          expect(await backend.count()).toBe(model.sessions.size);
        }
        const owned = await Promise.all(['ann', 'bob'].map(name => backend.findByOwner(name)));
        const left = await leftOf(backend, times(10, keyOf));
        expect(left).toEqual(Array.from(model.sessions.keys()).toSorted());
        expect(owned.flat().map(found => found.key)).toHaveLength(
          Array.from(model.sessions.values()).filter(each => each.owner !== undefined).length,
        );
      }),
      { numRuns: inLong(20_000, 1_000) },
    );
  });

  it('a lease that has lapsed keeps no session: what its holder, who died, had goes in its turn', async () => {
    const backend = new RamBackend(2);
    const [dead, other, more] = ['dead', 'other', 'more'].map(keyOf) as [string, string, string];
    await backend.create(dead, write(), { token: 'dead', ms: 0 });
    await backend.create(other, write('ann'));
    await backend.create(more, write());
    expect(await leftOf(backend, [dead, other, more])).toEqual([other, more]);
  });
});

import * as fc from 'fast-check';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { jsonPlusSerializer } from 'nest-sessions';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';
import { OpenSession } from '../../lib/session/open-session.js';
import { sessionKey } from '../../lib/session/session-id.js';
import { SessionRuntime } from '../../lib/session/session-runtime.js';
import { expectLogs } from '../support/expect-logs.js';
import { inLong } from '../support/long.js';
import { dictOf, newId } from '../support/open-sessions.js';
import { ScheduledBackend } from '../support/scheduled-backend.js';
import { AT_ONCE, callAtOnce, type CallAtOnce } from '../support/session-calls.js';
import type { Trouble } from '../support/troubled-backend.js';
import { watchRejections } from '../support/unhandled.js';
import { newLease } from './fixtures.js';

/** What the handler does next; and other requests, while it runs. */
interface Step {
  call: CallAtOnce | 'another adds' | 'another destroys';
  /** `await`: its failure ends the handler. `catch`: it goes on. `forget`: it does not wait. */
  how: 'await' | 'catch' | 'forget';
}

interface Plan {
  isStored: boolean;
  locking: 'implicit' | 'explicit';
  steps: Step[];
  troubles: (Trouble | 'none')[];
}

const HOUR = 3_600_000;

const step: fc.Arbitrary<Step> = fc.record({
  call: fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...AT_ONCE.filter(name => name !== 'close')) },
    { weight: 2, arbitrary: fc.constantFrom('set' as const, 'save' as const) },
    { weight: 2, arbitrary: fc.constantFrom('another adds' as const) },
    { weight: 1, arbitrary: fc.constantFrom('another destroys' as const, 'close' as const) },
  ),
  how: fc.constantFrom('await', 'catch', 'forget', 'forget'),
});

const plans = (troubles: fc.Arbitrary<Plan['troubles']>): fc.Arbitrary<Plan> =>
  fc.record({
    isStored: fc.boolean(),
    locking: fc.constantFrom('implicit', 'explicit'),
    steps: fc.array(step, { minLength: 1, maxLength: 9, size: 'max' }),
    troubles,
  });

/** One request, and others beside it; and what must have come of them. */
class Story {
  readonly storage: ScheduledBackend;
  private readonly runtime: SessionRuntime;
  private readonly open: OpenSession;
  private readonly id = newId();
  private readonly others: Promise<unknown>[] = [];
  private lastValue = 0;
  /** Of `v`, as it was stored when a save was acknowledged. */
  private acknowledged = 0;
  private isDestroyed = false;
  private readonly leftByDestroy: string[] = [];
  private additions = { acknowledged: 0, tried: 0 };
  private hasFailed = false;
  private isClosed = false;

  constructor(
    private readonly scheduler: fc.Scheduler,
    private readonly plan: Plan,
  ) {
    this.storage = new ScheduledBackend(scheduler, [...plan.troubles]);
    this.runtime = new SessionRuntime(resolveSessionOptions({}), this.storage);
    this.open = new OpenSession(
      this.runtime,
      plan.isStored ? { id: this.id, key: sessionKey(this.id) } : undefined,
    );
    this.open.locking = plan.locking;
  }

  async run(): Promise<void> {
    if (this.plan.isStored) {
      const key = sessionKey(this.id);
      this.storage.created.add(key);
      await this.storage.ram.create(key, { data: '{"v":0,"count":0}', ttl: HOUR });
    }
    const request = this.handle().then(isFailed => this.commit(isFailed));
    await this.scheduler.waitFor(request);
    this.open.answer();
    this.storage.isReliable = true;
    await this.scheduler.waitFor(Promise.all(this.others));
    await this.scheduler.waitIdle();
    await this.check();
    this.runtime.locks.close();
  }

  /** @returns whether the handler threw */
  private async handle(): Promise<boolean> {
    try {
      await this.open.load();
      for (const { call, how } of this.plan.steps) {
        const work = this.start(call);
        if (how !== 'forget') {
          await (how === 'catch' ? work?.catch(() => undefined) : work);
        }
      }
      return false;
    } catch {
      return true;
    }
  }

  private start(call: Step['call']): Promise<unknown> | undefined {
    if (call === 'another adds' || call === 'another destroys') {
      this.others.push(call === 'another adds' ? this.add() : this.destroy());
      return undefined;
    }
    if (call === 'set') {
      dictOf(this.open).set('v', ++this.lastValue);
      return undefined;
    }
    const work = callAtOnce(call, this.open);
    this.note(call, work);
    return work;
  }

  /** Takes note of what the call comes to, without being somebody who takes note of its failure. */
  private note(call: CallAtOnce, work: Promise<unknown> | undefined): void {
    this.isClosed ||= call === 'close';
    this.isDestroyed ||= call === 'destroy';
    if (call === 'commit') {
      void work?.catch(() => {
        this.hasFailed = true;
      });
    }
    if (call === 'save') {
      void work!.then(async () => {
        this.acknowledged = Number((await this.stored())?.v ?? 0);
      });
    } else if (call === 'destroy') {
      // What the request does next is on its way at most.
      void work!.then(async () => this.leftByDestroy.push(...(await this.there())));
    }
  }

  private async commit(isFailed: boolean): Promise<void> {
    try {
      await this.open.commit({ drop: isFailed });
    } catch {
      return;
    }
    const { open, hasFailed, isClosed } = this;
    if (isFailed || hasFailed || isClosed || !open.isUsable) {
      return; // no success was told
    }
    const live = dictOf(open).data;
    const stored = await this.stored();
    if (open.isStored && stored) {
      expect(stored.v, 'success means saved').toBe(live.v);
    } else if (!stored && !this.storage.removed.has(open.key)) {
      expect(live, 'success means saved').toEqual({});
    }
  }

  private async stored(): Promise<Record<string, unknown> | undefined> {
    const record = await this.storage.ram.read(this.open.key);
    return record && jsonPlusSerializer.parse(record.data);
  }

  /** Another request that reads, adds one and stores. */
  private async add(): Promise<void> {
    const other = new OpenSession(this.runtime, { id: this.id, key: sessionKey(this.id) });
    try {
      await other.load();
      if (other.isStored) {
        this.additions.tried++;
        dictOf(other).set('count', (dictOf(other).get('count') as number) + 1);
        await other.commit();
        this.additions.acknowledged++;
      }
    } catch {
      other.abandon();
    }
    other.answer();
  }

  private async destroy(): Promise<void> {
    this.isDestroyed = true;
    try {
      await this.runtime.backend.delete(sessionKey(this.id));
    } catch {
      // it may be there, or not
    }
  }

  private async check(): Promise<void> {
    const { storage, runtime, isDestroyed, acknowledged, additions } = this;
    // Given back by tries that are a second apart at most, and two of which must be answered.
    await expect.poll(() => this.isFree(), { interval: 20, timeout: 10_000 }).toBe(true);
    expect(runtime.locks.size, 'no lock left').toBe(0);
    const there = await this.there();
    // Where a removal failed for good, both may be there.
    expect(there.length, 'records of one session').toBeLessThanOrEqual(1 + (storage.failed.delete ?? 0));
    expect(
      there.filter(key => storage.dead.has(key)),
      'nothing is revived',
    ).toEqual([]);
    if (!storage.failed.delete) {
      expect(this.leftByDestroy, 'an acknowledged destroy() leaves nothing').toEqual([]);
    }
    const [record] = await Promise.all(there.map(key => storage.ram.read(key)));
    const data = record && jsonPlusSerializer.parse(record.data);
    if (!isDestroyed && !storage.failed.delete) {
      expect(data?.v ?? 0, 'no acknowledged save is lost').toBeGreaterThanOrEqual(acknowledged);
      expect(data?.count ?? 0, 'no lost update').toBeGreaterThanOrEqual(additions.acknowledged);
      expect(data?.count ?? 0, 'no update twice').toBeLessThanOrEqual(additions.tried);
    }
  }

  private async there(): Promise<string[]> {
    const found = await Promise.all(
      Array.from(this.storage.created, async key => ((await this.storage.ram.read(key)) ? [key] : [])),
    );
    return found.flat();
  }

  /** Asked of the storage itself. What a failed call locked is given back a little later. */
  private async isFree(): Promise<boolean> {
    await this.scheduler.waitIdle();
    for (const key of this.storage.created) {
      const lease = newLease();
      if ((await this.storage.ram.lock(key, lease)) === 'busy') {
        return false;
      }
      await this.storage.ram.unlock(key, lease);
    }
    return true;
  }
}

describe('any calls of a request, whatever the order in which the storage answers', () => {
  const rejections = watchRejections();
  expectLogs();

  const TITLE =
    'one record, no lock left, nothing unhandled, no acknowledged save or update lost, nothing revived, success means saved';

  const holds = (troubles: fc.Arbitrary<Plan['troubles']>) =>
    fc.assert(
      fc.asyncProperty(fc.scheduler(), plans(troubles), async (scheduler, plan) => {
        await new Story(scheduler, plan).run();
        await nextTurn();
        expect(rejections.splice(0), 'nothing unhandled').toEqual([]);
      }),
      { numRuns: inLong(5000, 300) },
    );

  it(`${TITLE}: a storage that answers`, () => holds(fc.constant([])), 600_000);

  it(
    `${TITLE}: a storage that fails now and then`,
    () =>
      holds(
        fc.array(
          fc.constantFrom('none' as const, 'none' as const, 'refused' as const, 'unanswered' as const),
          {
            maxLength: 12,
            size: 'max',
          },
        ),
      ),
    600_000,
  );
});

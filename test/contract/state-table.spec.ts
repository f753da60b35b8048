import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sessionKey } from '../../lib/session/session-id.js';
import type { OpenSession } from '../../lib/session/open-session.js';
import {
  SessionAnsweredException,
  SessionContextException,
  SessionHttpException,
  type SessionBackend,
} from 'nest-sessions';
import { dictOf, OpenSessions } from '../support/open-sessions.js';
import {
  CALLS,
  STATE_NAMES,
  STATES,
  stateTableLines,
  type CallName,
  type StateName,
} from '../support/state-table.js';
import { expectLogs } from '../support/expect-logs.js';
import { watchRejections } from '../support/unhandled.js';
import { until } from '../support/until.js';
import { BACKENDS, type TestStorage } from './backends.js';

const OLD = { n: 1 };
const THEIRS = { n: 9 };

/** A session in use, in one of the states. */
interface Subject {
  open: OpenSession;
  /** That its record had at first. */
  id: string;
  /** What a record with the change holds. */
  changed: object;
}

/** Brings sessions into each state, by what brings requests there. */
class Entrance {
  constructor(
    readonly sessions: OpenSessions,
    private readonly other: SessionBackend,
  ) {}

  async comeTo(state: StateName): Promise<Subject> {
    const { sessions } = this;
    if (state === 'new') {
      const open = sessions.open();
      await open.load();
      dictOf(open).set('b', 2);
      return { open, id: open.id, changed: { b: 2 } };
    }
    const id = await sessions.seed(OLD);
    const open = sessions.open(id);
    const subject = { open, id, changed: { ...OLD, b: 2 } };
    if (state === 'unread') {
      return subject;
    }
    if (state === 'ended, waited') {
      await this.waitInVain(subject);
    } else {
      open.locking = state === 'read, explicit' ? 'explicit' : 'implicit';
      await open.load();
    }
    if (state === 'read') {
      await dictOf(open).releaseLock();
    }
    dictOf(open).set('b', 2);
    await this.goOn(state, subject);
    expect(open.state).toBe(state.split(',')[0]);
    return subject;
  }

  private async goOn(state: StateName, { open, id }: Subject): Promise<void> {
    const { backend } = this.sessions;
    const fails = (call: Promise<unknown>) => expect(call).rejects.toBeInstanceOf(SessionHttpException);
    switch (state) {
      case 'ended, gone':
        await this.other.delete(sessionKey(id));
        await fails(dictOf(open).save());
        break;
      case 'ended, lease lost':
        await this.other.delete(sessionKey(id));
        await this.other.create(sessionKey(id), { data: JSON.stringify(THEIRS), ttl: 60_000 });
        await fails(dictOf(open).save());
        break;
      case 'unsure, stored':
      case 'unsure, not stored':
        backend.failNext('save', state === 'unsure, stored' ? 'unanswered' : 'refused');
        await fails(dictOf(open).save());
        await until(async () => !(await this.sessions.isLocked(sessionKey(id)))); // it is given back
        break;
      case 'answered':
        await open.commit();
        open.answer();
    }
  }

  /** It waits in line while another request destroys the session. */
  private async waitInVain({ open, id }: Subject): Promise<void> {
    const first = this.sessions.open(id);
    await first.load();
    const loading = open.load();
    await dictOf(first).destroy();
    await loading;
  }
}

const call = (name: CallName, open: OpenSession): unknown => {
  const dict = dictOf(open);
  switch (name) {
    case 'get':
      return dict.get('n');
    case 'data':
      return dict.data.n;
    case 'set':
      return dict.set('b', 2);
    case 'commit':
      return open.commit();
    case 'close':
      open.close();
      return open.abandon(); // as the response's close does once the handler has ended
    default:
      return dict[name]();
  }
};

async function outcomeOf(name: CallName, open: OpenSession): Promise<string> {
  try {
    const value = await call(name, open);
    return name === 'get' || name === 'data' ? String(value ?? '–') : 'ok';
  } catch (error) {
    return error instanceof SessionAnsweredException
      ? 'late'
      : error instanceof SessionContextException
        ? 'unloaded'
        : String((error as SessionHttpException).getStatus());
  }
}

/** The cell, as it is found in the storage and in the session. */
async function cellOf(
  name: CallName,
  { open, id, changed }: Subject,
  sessions: OpenSessions,
): Promise<string> {
  const hadChange = open.values.live.b === 2;
  const outcome = await outcomeOf(name, open);
  const all = await sessions.keys();
  const keys = all.filter(key => key === sessionKey(id) || key === open.key);
  expect(keys.length).toBeLessThanOrEqual(1);
  const text = JSON.stringify(keys[0] && (await sessions.storedAt(keys[0])));
  const known = { none: undefined, old: OLD, new: changed, theirs: THEIRS };
  const stored = Object.entries(known).find(([, data]) => JSON.stringify(data) === text)?.[0] ?? text;
  const isMoved = keys[0] !== undefined && keys[0] !== sessionKey(id);
  if (!open.locked) {
    await until(() => sessions.runtime.locks.size === 0); // what is given back off the answer's path
  }
  const isLocked = keys[0] !== undefined && (await sessions.isLocked(keys[0]));
  const isDropped = hadChange && open.values.live.b !== 2;
  return [
    `${outcome} → ${open.state}`,
    stored,
    ...(isMoved ? ['moved'] : []),
    ...(isLocked ? ['locked'] : []),
    ...(isDropped ? ['dropped'] : []),
  ].join(', ');
}

for (const { name: storageName, open: openStorage } of BACKENDS) {
  describe(`a session in use, each call in each state: ${storageName}`, () => {
    let storage: TestStorage;
    beforeAll(async () => {
      storage = await openStorage();
    });
    afterAll(() => storage.close());
    watchRejections();
    expectLogs();

    describe.each(STATE_NAMES)('%s', state => {
      it.each(CALLS.map(name => [name, STATES[state].cells[name]] as const))(
        '%s: %s',
        async (name, expected) => {
          const [client, other] = storage.clients;
          const sessions = new OpenSessions(client);
          const subject = await new Entrance(sessions, other).comeTo(state);
          expect(await cellOf(name, subject, sessions)).toBe(expected);
          await expectSound(subject, sessions, name !== 'close'); // who closes stores no more
        },
      );
    });
  });
}

/** What holds after any call, once the request is over. */
async function expectSound({ open, id }: Subject, sessions: OpenSessions, isSaved: boolean): Promise<void> {
  const wasSaved = await Promise.resolve(open.commit()).then(
    () => true,
    () => false,
  );
  const live = structuredClone(open.values.live);
  const isKept = open.values.isFilled && open.state === 'read';
  open.answer();
  await until(() => sessions.runtime.locks.size === 0);
  for (const key of new Set([sessionKey(id), open.key])) {
    expect(await sessions.isLocked(key), 'no lock left').toBe(false);
  }
  if (isSaved && wasSaved && isKept) {
    expect(await sessions.stored(open.id), 'success means saved').toEqual(live);
  }
}

it('docs/ shows the table as it is tested', async () => {
  const folder = fileURLToPath(new URL('../../docs/', import.meta.url));
  const pages = (await readdir(folder)).filter(name => name.endsWith('.md'));
  const texts = await Promise.all(pages.map(name => readFile(folder + name, 'utf8')));
  const shown = new Set(texts.flatMap(text => text.split('\n').map(line => line.replace(/ +/g, ' '))));
  const missing = stateTableLines().filter(line => !line.includes('---') && !shown.has(line));
  expect(missing).toEqual([]);
});

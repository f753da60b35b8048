import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sessionKey } from '../../lib/session/session-id.js';
import type { OpenSession } from '../../lib/session/open-session.js';
import { expectLogs } from '../support/expect-logs.js';
import { dictOf, OpenSessions } from '../support/open-sessions.js';
import { AT_ONCE, callAtOnce, PAIRS, type CallAtOnce } from '../support/session-calls.js';
import { watchRejections } from '../support/unhandled.js';
import { BACKENDS, type TestStorage } from './backends.js';

/** In each, but `unread` and `unchanged`, the request has changed something. */
const BEGINNINGS = ['unread', 'new', 'read', 'read, explicit', 'held', 'unchanged'] as const;
type Beginning = (typeof BEGINNINGS)[number];

async function begin(beginning: Beginning, sessions: OpenSessions): Promise<OpenSession> {
  const open = sessions.open(beginning === 'new' ? undefined : await sessions.seed({ n: 1 }));
  if (beginning === 'unread') {
    return open;
  }
  open.locking = beginning === 'read, explicit' ? 'explicit' : 'implicit';
  await open.load();
  if (beginning === 'read') {
    await dictOf(open).releaseLock();
  }
  if (beginning !== 'unchanged') {
    dictOf(open).set('b', 2);
  }
  return open;
}

/** Two calls at once, which nobody awaits, then the commit and the answer; and what must be so afterwards. */
async function runPair(
  sessions: OpenSessions,
  beginning: Beginning,
  [first, second]: readonly [CallAtOnce, CallAtOnce],
): Promise<void> {
  const open = await begin(beginning, sessions);
  try {
    callAtOnce(first, open);
    callAtOnce(second, open);
  } catch (error) {
    expect(beginning, String(error)).toBe('unread'); // get and set need a loaded session
  }
  const isSaved = await Promise.resolve(open.commit()).then(
    () => true,
    () => false,
  );
  const live = structuredClone(open.values.live);
  open.answer();
  await sessions.allFree();
  const keys = await sessions.keys();
  expect(keys.length, 'records of one session').toBeLessThanOrEqual(1);
  if (open.state === 'answered' && open.isUsable && isSaved) {
    const isEmpty = keys.length === 0;
    expect(isEmpty ? {} : await sessions.storedAt(keys[0]!), 'success means saved').toEqual(live);
    expect(isEmpty || keys[0] === sessionKey(open.id)).toBe(true);
  }
  expect(isSaved || first === 'close' || second === 'close', 'nothing failed').toBe(true);
}

for (const { name: storageName, open: openStorage } of BACKENDS) {
  describe(`two calls of one request at once, which nobody awaits: ${storageName}`, () => {
    let storage: TestStorage;
    beforeAll(async () => {
      storage = await openStorage();
    });
    afterAll(() => storage.close());
    watchRejections();
    expectLogs();

    describe.each(BEGINNINGS)('%s', beginning => {
      it.each(AT_ONCE)(
        'one record, no lock left, nothing unhandled, success means saved: %s, then any other',
        async first => {
          await Promise.all(
            PAIRS.filter(pair => pair[0] === first).map(async pair => {
              try {
                await runPair(new OpenSessions(storage.clients[0]), beginning, pair);
              } catch (error) {
                throw new Error(`${beginning}: ${pair.join(', then ')}`, { cause: error });
              }
            }),
          );
        },
      );
    });
  });
}

import { SessionAnsweredException, type Session } from 'nest-sessions';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ALL_SETUPS, startApp, type TestApp } from '../support/app.js';
import { inLong } from '../support/long.js';
import { Browser, lockCount, ScriptController } from '../support/scripts.js';
import { AT_ONCE, type CallAtOnce } from '../support/session-calls.js';
import { watchRejections } from '../support/unhandled.js';

/** The commit is the answer's. */
const CALLS = AT_ONCE.filter(name => name !== 'commit');
const BEGINNINGS = ['new', 'stored', 'stored, explicit'] as const;
type Beginning = (typeof BEGINNINGS)[number];

const SETUPS = inLong(
  ALL_SETUPS,
  ALL_SETUPS.filter(({ storage }) => storage === 'ram' || storage === 'postgresql'),
);

for (const { storage, adapter } of SETUPS) {
  describe(`two calls at once, which the handler does not await, then the answer: ${storage}, ${adapter}`, () => {
    let server: TestApp;
    beforeAll(async () => {
      server = await startApp({ adapter, storage, controllers: [ScriptController] });
    });
    afterAll(() => server.close());
    watchRejections();

    const call = (name: CallAtOnce, session: Session, request: any): void => {
      if (name === 'set') {
        session.set('c', 3);
      } else if (name === 'close') {
        (request.raw ?? request).socket.destroy();
      } else if (name !== 'commit') {
        void session[name]();
      }
    };

    const runPair = async (beginning: Beginning, first: CallAtOnce, second: CallAtOnce): Promise<void> => {
      const browser = new Browser(server.url, beginning === 'new' ? undefined : await seed());
      let session!: Session;
      let data: unknown;
      const handler = browser.run(async (request: any) => {
        session = await server.store.current();
        if (beginning === 'stored, explicit') {
          await session.releaseLock();
        }
        ({ data } = session);
        session.set('b', 2);
        call(first, session, request);
        call(second, session, request);
      }, 'none');
      const isClosed = first === 'close' || second === 'close';
      const answer = isClosed ? await handler.catch(() => undefined) : await handler;
      expect(answer?.status ?? 200).toBe(200);
      await expect.poll(() => isAnswered(session)).toBe(true);
      await expect.poll(() => lockCount(server)).toBe(0);
      const snapshot = await server.store.get(session.id);
      expect(await server.stored(), 'records of one session').toBe(snapshot ? 1 : 0);
      if (answer) {
        expect(snapshot?.data ?? {}, 'success means saved').toEqual(data);
        const cookie = await browser.cookie();
        expect(snapshot && first !== 'expire' && second !== 'expire' ? cookie : session.id).toBe(session.id);
      }
      await server.store.destroy(session.id);
      browser.close();
    };

    /** The server has done with the request, whether or not the client has. */
    const isAnswered = (session: Session): boolean => {
      try {
        return !session.data;
      } catch (error) {
        return error instanceof SessionAnsweredException;
      }
    };

    const seed = () => server.store.create({ n: 1 });

    describe.each(BEGINNINGS)('a session that is %s', beginning => {
      it.each(CALLS)(
        'one record, no lock left, nothing unhandled, success means saved: %s, then any other',
        async first => {
          for (const second of CALLS) {
            try {
              await runPair(beginning, first, second);
            } catch (error) {
              throw new Error(`${beginning}: ${first}, then ${second}`, { cause: error });
            }
          }
        },
      );
    });

    it('the application closes at once: no lease is waited for', async () => {
      const begin = performance.now();
      await server.app.close();
      expect(performance.now() - begin).toBeLessThan(5000);
    });
  });
}

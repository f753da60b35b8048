import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ObservedPromise } from '../../lib/session/observed-promise.js';

/** What the process is told of, in place of vitest, which would fail the run. */
let unhandled: unknown[];
let others: NodeJS.UnhandledRejectionListener[];
const note = (reason: unknown) => void unhandled.push(reason);

beforeEach(() => {
  unhandled = [];
  others = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection').on('unhandledRejection', note);
});
afterEach(() => {
  process.off('unhandledRejection', note);
  others.forEach(listener => process.on('unhandledRejection', listener));
});

/** Until Node.js has looked for rejections that nobody handles. */
const settled = () => new Promise(resolve => setImmediate(() => setImmediate(resolve)));
const FAILURE = new Error('of the package');
const OWN = new Error("of the application's callback");
const failing = (reason: unknown) => ObservedPromise.of(Promise.reject(reason));
const done = () => ObservedPromise.of(Promise.resolve(1));
const throwOwn = () => {
  throw OWN;
};

describe('a call that nobody awaits', () => {
  it.each([FAILURE, 'a text', undefined, null, 5])('is never an unhandled rejection: %s', async reason => {
    failing(reason);
    await settled();
    expect(unhandled).toEqual([]);
    await expect(failing(reason)).rejects.toBe(reason);
  });

  it.each<[string, (promise: Promise<unknown>) => unknown]>([
    ['then', promise => promise.then(() => 1)],
    ['then, twice', promise => promise.then(() => 1).then(() => 2)],
    ['finally', promise => promise.finally(() => undefined)],
    ['finally, then', promise => promise.finally(() => undefined).then(() => 1)],
    ['two branches', promise => [promise.then(() => 1), promise.finally(() => 2)]],
  ])('nor is what passes its failure on: %s', async (_title, use) => {
    use(failing(FAILURE));
    await settled();
    expect(unhandled).toEqual([]);
  });
});

describe("what the application's own callbacks throw", () => {
  it.each<[string, () => Promise<unknown>]>([
    ['in then', () => done().then(throwOwn)],
    ['in an async callback', () => done().then(async () => throwOwn())],
    [
      'further down',
      () =>
        done()
          .then(throwOwn)
          .then(() => 1),
    ],
    ['in catch', () => failing(FAILURE).catch(throwOwn)],
    ['in finally', () => done().finally(throwOwn)],
    ['a text', () => done().then(() => Promise.reject('text'))],
  ])('is an unhandled rejection if nobody handles it, once: %s', async (_title, use) => {
    void use();
    await settled();
    expect(unhandled).toHaveLength(1);
  });

  it.each<[string, () => Promise<unknown>]>([
    [
      'catch',
      () =>
        done()
          .then(throwOwn)
          .catch(() => 1),
    ],
    [
      'catch further down',
      () =>
        done()
          .then(throwOwn)
          .then(() => 1)
          .catch(() => 1),
    ],
    [
      'catch behind finally',
      () =>
        done()
          .then(throwOwn)
          .finally(() => 1)
          .catch(() => 1),
    ],
    ['await', async () => expect(done().then(throwOwn)).rejects.toBe(OWN)],
    ['all', () => Promise.all([done(), done().then(throwOwn)]).catch(() => 1)],
    [
      'catch, of an async callback',
      () =>
        done()
          .then(async () => throwOwn())
          .catch(() => 1),
    ],
    [
      'catch, a little later',
      async () => {
        const promise = done().then(throwOwn);
        await Promise.resolve();
        await promise.catch(() => 1);
      },
    ],
  ])('is none if somebody handles it: %s', async (_title, use) => {
    await use();
    await settled();
    expect(unhandled).toEqual([]);
  });
});

import { describe, expect, it } from 'vitest';
import { checkSession } from '../chaos/checker.js';
import type { Call, SessionHistory, Trouble } from '../chaos/history.js';
import { ChaosSession } from '../chaos/population.js';
import { Random } from '../chaos/random.js';
import { tellStory } from '../chaos/story.js';

/** A call, half a second long. */
const call = (at: number, name: string, rest: Partial<Call> = {}): Call => ({
  name,
  client: 1,
  server: 0,
  at,
  doneAt: at + 0.5,
  id: 0,
  status: 200,
  tokens: [],
  ...rest,
});
const adds = (at: number, token: string, rest: Partial<Call> = {}) =>
  call(at, 'set', { tokens: [token], found: true, ...rest });
/** What is in the list, what in the nested one, and the keys; words. */
const sees = (at: number, list: string, deep = '', keys = '', rest: Partial<Call> = {}) => {
  const [first, second, third] = [list, deep, keys].map(text => text.split(' ').filter(Boolean));
  return call(at, 'read', { found: true, seen: { list: first!, deep: second!, keys: third! }, ...rest });
};
const misses = (at: number, rest: Partial<Call> = {}) => call(at, 'read', { found: false, ...rest });
const ends = (at: number, rest: Partial<Call> = {}) =>
  call(at, 'destroy', { effect: 'end', found: true, ...rest });
const moves = (at: number, id: number, newId: number, rest: Partial<Call> = {}) =>
  call(at, 'regenerate', { effect: 'move', id, newId, found: true, ...rest });

const history = (calls: Call[], isGone = false): SessionHistory => ({
  name: 's1',
  ids: ['a', 'b', 'c'],
  calls: [call(0, 'create', { tokens: ['t0'], found: true }), ...calls],
  isGone,
});
const broken = (calls: Call[], troubles: Trouble[] = [], isGone = false) =>
  checkSession(history(calls, isGone), troubles).map(({ promise }) => promise);

const GOOD: Record<string, Call[]> = {
  'nothing happened': [],
  'changes in all places, one after the other': [
    adds(1, 't1'),
    adds(2, 't2'),
    call(3, 'merge', { tokens: ['t3'], found: true }),
    sees(4, 't0 t1', 't2', 't3'),
  ],
  'a read beside a change sees it, or not': [
    adds(1, 't1'),
    sees(1.2, 't0'),
    adds(2, 't2'),
    sees(2.2, 't0 t1 t2'),
  ],
  'two changes beside each other, in the other order': [adds(1, 't1'), adds(1.1, 't2'), sees(2, 't0 t2 t1')],
  'a 503 may be stored, and may be not': [
    adds(1, 't1', { status: 503 }),
    adds(2, 't2', { status: 503 }),
    sees(3, 't0 t2'),
  ],
  'a 503 may be stored late': [adds(1, 't1', { status: 503 }), sees(2, 't0'), sees(3, 't0 t1')],
  'a refused call may have saved before its end': [
    call(1, 'save-midway', { tokens: ['t1', 't2'], midway: 1, status: 409, found: true }),
    ends(0.9),
    sees(1.2, 't0 t1'),
  ],
  'ended, and gone': [ends(1), misses(2), adds(3, 't3', { found: false })],
  'a request that was under way when it ended is refused': [
    ends(1),
    adds(0.9, 't1', { status: 409, doneAt: 3 }),
  ],
  'an end without an answer': [ends(1, { status: 'cut' }), sees(2, 't0'), misses(3)],
  'moved: the new id goes on, the old one is dead': [
    adds(1, 't1'),
    moves(2, 0, 1),
    misses(3),
    sees(3, 't0 t1', '', '', { id: 1 }),
  ],
  'a move without an answer comes late': [
    moves(1, 0, 1, { status: 'cut' }),
    sees(5, 't0'),
    misses(6),
    sees(7, 't0', '', '', { id: 1 }),
  ],
  'a log-out with an id from which the session had moved ends nothing': [
    moves(1, 0, 1, { doneAt: 3 }),
    ends(2),
    sees(4, 't0', '', '', { id: 1 }),
  ],
  'the owner may have got it too late': [ends(1, { isSure: false }), sees(2, 't0')],
};

const KILL: Trouble = { name: 'kill', at: 1, doneAt: 2, server: 0 };

const BAD: Record<string, [promise: string, calls: Call[]]> = {
  'a lost update': ['acknowledged changes are in all later reads', [adds(1, 't1'), sees(2, 't0')]],
  'a lost update of a merge': [
    'acknowledged changes are in all later reads',
    [call(1, 'merge', { tokens: ['t1'], found: true }), sees(2, 't0', '', '')],
  ],
  'a lost update by an older state that another change goes on from': [
    'acknowledged changes are in all later reads',
    [adds(1, 't1'), adds(2, 't2'), sees(3, 't0 t2')],
  ],
  'a change that was answered 409': [
    'no refused change is there',
    [ends(0.9), adds(1, 't1', { status: 409, doneAt: 3 }), sees(1.2, 't0 t1')],
  ],
  'a change of a handler that failed': [
    'no refused change is there',
    [call(1, 'fail', { tokens: ['t1'], status: 500 }), sees(2, 't0 t1')],
  ],
  'the last change of a call that was refused': [
    'no refused change is there',
    [
      ends(0.9),
      call(1, 'save-midway', { tokens: ['t1', 't2'], midway: 1, status: 409 }),
      sees(1.2, 't0 t1 t2'),
    ],
  ],
  "another session's data": [
    'nothing comes from another session, or before it was sent',
    [sees(1, 't0 other')],
  ],
  'a change before it was sent': [
    'nothing comes from another session, or before it was sent',
    [sees(1, 't0 t1'), adds(2, 't1')],
  ],
  'two orders': [
    'reads fit one serial order',
    [adds(1, 't1'), adds(1.1, 't2'), sees(2, 't0 t1 t2'), sees(3, 't0 t2 t1')],
  ],
  'two orders, over two places': [
    'reads fit one serial order',
    [adds(1, 't1', { doneAt: 9 }), adds(1, 't2', { doneAt: 9 }), sees(2, 't0 t1'), sees(2, 't0', 't2')],
  ],
  'an older state after a newer one, of changes that were not acknowledged': [
    'reads fit one serial order',
    [adds(1, 't1', { status: 503 }), sees(2, 't0 t1'), sees(3, 't0')],
  ],
  'revived after a log-out': ['nothing is revived', [ends(1), sees(2, 't0')]],
  'used after a log-out': [
    'nothing is revived',
    [ends(1), adds(2, 't2', { seen: { list: ['t0'], deep: [], keys: [] } })],
  ],
  'there again': ['nothing is revived', [ends(1, { status: 503 }), misses(2), sees(3, 't0')]],
  "an owner's session that changed its id is left": [
    'nothing is revived',
    [moves(1, 0, 1), ends(1.1, { isSure: true }), sees(3, 't0', '', '', { id: 1 })],
  ],
  'the old id is alive': ['an old id is dead at once', [moves(1, 0, 1), sees(2, 't0')]],
  'one id moved twice': ['an old id is dead at once', [moves(1, 0, 1), moves(1.1, 0, 2)]],
  'gone by itself': ['no session is lost', [misses(1)]],
  'gone by itself, after a move': ['no session is lost', [moves(1, 0, 1), misses(2, { id: 1 })]],
  'gone before it was ended': ['no session is lost', [misses(1), ends(2)]],
  'a 409 by itself': ['no session is lost', [call(1, 'touch', { status: 409, id: 0 })]],
  'a 503 without any trouble': ['only the statuses that the docs name', [adds(9000, 't1', { status: 503 })]],
  'a 500': ['only the statuses that the docs name', [adds(1, 't1', { status: 500 })]],
  'no answer': ['only the statuses that the docs name', [adds(1, 't1', { status: 'hung' })]],
  'cut by another server than the one that was killed': [
    'only the statuses that the docs name',
    [adds(1, 't1', { status: 'cut', server: 1 })],
  ],
};

describe('the checker of npm run chaos: each promise is broken by a history that breaks it, and by no other', () => {
  it.each(Object.entries(GOOD))('good: %s', (_, calls) => {
    expect(broken(calls, [{ ...KILL, doneAt: 6 }])).toEqual([]);
  });

  it.each(Object.entries(BAD))('bad: %s', (_, [promise, calls]) => {
    expect(broken(calls, [KILL])).toContain(promise);
  });

  it('a session that is gone under all its ids, after a move without an answer, is lost', () => {
    const calls = [moves(1, 0, 1, { status: 503 }), misses(2), misses(3, { id: 1 })];
    expect(broken(calls, [KILL])).toEqual([]);
    expect(broken(calls, [KILL], true)).toEqual(['no session is lost']);
    expect(broken([...calls, ends(1, { status: 503 })], [KILL], true)).toEqual([]);
  });

  it('tells the story of what it found: what shows it, what was beside it, and the troubles', () => {
    const session: SessionHistory = {
      ...history([]),
      calls: [
        adds(1000, 't1', { doneAt: 1400 }),
        adds(1500, 't9', { doneAt: 1600, status: 503 }),
        sees(2000, 't0', '', '', { doneAt: 2100 }),
      ],
    };
    const [problem] = checkSession(session, [KILL]);
    const story = tellStory(problem!, session, [{ ...KILL, at: 900, doneAt: 1200 }]);
    expect(story.split('\n')).toEqual([
      'BROKEN: acknowledged changes are in all later reads: t1 was acknowledged, and is not there later (session s1)',
      '  0.900 s to 1.200 s  kill of server 0',
      '* 1.000 s to 1.400 s  client 1, server 0: set, id 0, adds t1, 200',
      '  1.500 s to 1.600 s  client 1, server 0: set, id 0, adds t9, 503',
      '* 2.000 s to 2.100 s  client 1, server 0: read, id 0, 200, saw 1 (…t0) | 0 | 0',
    ]);
  });
});

describe('where the clients of npm run chaos look for a session', () => {
  const begun = (calls: Call[]) => {
    const session = new ChaosSession('s1', 'a');
    ['b', 'c'].forEach(id => session.addId(id));
    for (const each of calls) {
      session.calls.push(each);
      session.settle(each);
    }
    return { id: session.currentId, isEnded: session.isEnded, isGone: session.isGone };
  };

  it('under the new id of a move that was acknowledged', () => {
    expect(begun([moves(1, 0, 1)])).toEqual({ id: 1, isEnded: false, isGone: false });
  });

  it('after one without an answer, under the new id once the old one is not there', () => {
    const unsure = moves(1, 0, 1, { status: 'cut' });
    expect(begun([unsure]).id).toBe(0);
    expect(begun([unsure, misses(2)])).toEqual({ id: 1, isEnded: false, isGone: false });
    expect(begun([unsure, misses(2), misses(3, { id: 1 })])).toEqual({ id: 0, isEnded: true, isGone: true });
  });

  it('nowhere, where what is under the new id may be a copy', () => {
    const unsure = [moves(1, 0, 1, { status: 'cut' }), ends(2, { status: 'cut' })];
    expect(begun([...unsure, misses(3)])).toMatchObject({ isEnded: true, isGone: false });
  });

  it('nowhere else, as long as a move or an end is under way', () => {
    expect(begun([moves(1, 0, 1, { status: 'pending' }), misses(2)])).toEqual({
      id: 0,
      isEnded: false,
      isGone: false,
    });
  });
});

describe('the numbers of npm run chaos', () => {
  const draw = (seed: number, stream: string) => {
    const random = new Random(seed, stream);
    return Array.from({ length: 50 }, () => random.between(0, 9));
  };

  it('a seed replays them; another seed, and another stream, draw others', () => {
    expect(draw(7, 'client 1')).toEqual(draw(7, 'client 1'));
    expect(draw(7, 'client 1')).not.toEqual(draw(8, 'client 1'));
    expect(draw(7, 'client 1')).not.toEqual(draw(7, 'client 2'));
  });

  it('follow their weights, and stay within their bounds', () => {
    const random = new Random(1, 'weights');
    const names = Array.from({ length: 2000 }, () => random.weighted({ often: 3, rarely: 1, never: 0 }));
    const share = names.filter(name => name === 'often').length / names.length;
    expect(share).toBeGreaterThan(0.7);
    expect(share).toBeLessThan(0.8);
    expect(names).not.toContain('never');
    expect(new Set(draw(1, 'bounds'))).toEqual(new Set([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
  });
});

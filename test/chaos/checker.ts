import type { ChaosSeen } from '../programs/chaos-order.js';
import {
  isAcknowledged,
  isRefused,
  tokensOf,
  type Call,
  type SessionHistory,
  type Trouble,
} from './history.js';

/** A promise that was broken, and the calls that show it. */
export interface Problem {
  promise: string;
  text: string;
  calls: Call[];
}

/** Milliseconds after a trouble in which it may still be the reason of a 503. */
const AFTERMATH = 5000;

interface View extends Call {
  seen: ChaosSeen;
  /** All that it holds. */
  all: Set<string>;
}

type Found = [text: string, ...calls: (Call | undefined)[]];
type Rule = (history: SessionHistory, views: View[], troubles: Trouble[]) => Iterable<Found>;

/** Each gives what breaks the promise in its name. */
const RULES: Record<string, Rule> = {
  'acknowledged changes are in all later reads': function* ({ calls }, views) {
    for (const call of calls.filter(isAcknowledged)) {
      const later = views.find(
        ({ at, all }) => at > call.doneAt && call.tokens.some(token => !all.has(token)),
      );
      if (later) {
        yield [`${call.tokens} was acknowledged, and is not there later`, call, later];
      }
    }
  },

  'no refused change is there': function* ({ calls }, views) {
    for (const call of calls.filter(isRefused)) {
      const refused = call.tokens.slice(call.status === 200 ? 0 : (call.midway ?? 0));
      const later = views.find(({ all }) => refused.some(token => all.has(token)));
      if (later) {
        yield [`${refused} was refused, and is there`, call, later];
      }
    }
  },

  'nothing comes from another session, or before it was sent': function* ({ calls }, views) {
    const sentAt = new Map(calls.flatMap(({ tokens, at }) => tokens.map(token => [token, at])));
    for (const view of views) {
      const strange = [...view.all].find(token => !(sentAt.get(token)! < view.doneAt));
      if (strange) {
        yield [`${strange} should not be there`, view];
      }
    }
  },

  'reads fit one serial order': function* (_, views) {
    // Each state holds the ones before it: so there is one order for all that was seen.
    const bySize = views.toSorted((a, b) => a.all.size - b.all.size);
    for (const [index, view] of bySize.entries()) {
      const next = bySize[index + 1];
      if (next && !precedes(view.seen, next.seen)) {
        yield ['neither of two states comes before the other', view, next];
      }
    }
    let largest: View | undefined;
    for (const { kind, view } of byTime(views)) {
      if (kind === 'done' && view.all.size > (largest?.all.size ?? -1)) {
        largest = view;
      } else if (kind === 'sent') {
        // What had been read when this one was sent.
        const before = largest;
        if (before && before.all.size > view.all.size) {
          yield ['a later read shows an older state', before, view];
        }
      }
    }
  },

  'nothing is revived': function* (history, views) {
    const { calls } = history;
    for (const end of calls.filter(call => isCertainEnd(call, calls))) {
      const later = views.find(view => view.at > end.doneAt && isCertainId(view.id, calls));
      if (later) {
        yield ['the session was ended, and is there later', end, later];
      }
    }
    for (const absence of calls.filter(({ status, found }) => status === 200 && found === false)) {
      const later = views.find(
        view => view.id === absence.id && view.at > absence.doneAt && isCertainId(view.id, calls),
      );
      if (later) {
        yield ['the session was not there, and is there later', absence, later];
      }
    }
  },

  'an old id is dead at once': function* ({ calls }, views) {
    const moves = calls.filter(call => call.effect === 'move' && isAcknowledged(call));
    for (const move of moves) {
      const later = views.find(({ id, at }) => id === move.id && at > move.doneAt);
      if (later) {
        yield ['the old id is alive', move, later];
      }
      const second = moves.find(other => other !== move && other.id === move.id);
      if (second) {
        yield ['one id was moved twice', move, second];
      }
    }
  },

  'no session is lost': function* ({ calls, isGone }) {
    const ended = (by: number, except?: Call) =>
      calls.some(call => call !== except && call.effect === 'end' && !isRefused(call) && call.at < by);
    // A move that was refused in its end may have been one.
    const moved = (from: number, by: number, except?: Call) =>
      calls.some(
        call =>
          call !== except &&
          call.effect === 'move' &&
          call.id === from &&
          call.at < by &&
          call.found !== false,
      );
    for (const call of calls) {
      const { id, doneAt, status, found } = call;
      if ((status === 409 || (status === 200 && found === false)) && isCertainId(id, calls)) {
        if (!ended(doneAt, call) && !moved(id, doneAt, call)) {
          yield [
            status === 409 ? 'a 409, and nobody ended it' : 'the session is gone, and nobody ended it',
            call,
          ];
        }
      }
    }
    if (isGone && !ended(Infinity)) {
      yield ['it is gone under all its ids, and nobody ended it', ...calls.filter(({ effect }) => effect)];
    }
  },

  'only the statuses that the docs name': function* ({ calls }, _, troubles) {
    const duringTrouble = ({ at, doneAt, server }: Call, grace: number, kill = false) =>
      troubles.some(
        trouble =>
          trouble.at < doneAt &&
          trouble.doneAt + grace > at &&
          (!kill || (trouble.name === 'kill' && trouble.server === server)),
      );
    for (const call of calls) {
      const { status, name } = call;
      if (status === 503 && !duringTrouble(call, AFTERMATH)) {
        yield ['a 503 without any trouble', call];
      } else if (status === 'cut' && !duringTrouble(call, 0, true)) {
        yield ['a connection was cut by a process that lives', call];
      } else if (status === 'hung') {
        yield ['no answer', call];
      } else if (
        typeof status === 'number' &&
        ![200, 409, 503, ...(name === 'fail' ? [500] : [])].includes(status)
      ) {
        yield [`a ${status}`, call];
      }
    }
  },
};

/** What is wrong with one session's history. At most one problem a promise: the others follow from it, as a rule. */
export function checkSession(history: SessionHistory, troubles: Trouble[] = []): Problem[] {
  const views = history.calls.flatMap(call =>
    call.seen ? [{ ...call, seen: call.seen, all: new Set(tokensOf(call.seen)) }] : [],
  );
  return Object.entries(RULES).flatMap(([promise, rule]) => {
    for (const [text, ...calls] of rule(history, views, troubles)) {
      return [{ promise, text, calls: calls.filter(call => call !== undefined) }];
    }
    return [];
  });
}

/** Whether all that was there in the one state is there in the other, in the same order. */
function precedes(before: ChaosSeen, after: ChaosSeen): boolean {
  const isPrefix = (one: string[], other: string[]) => one.every((token, index) => token === other[index]);
  const keys = new Set(after.keys);
  return (
    isPrefix(before.list, after.list) &&
    isPrefix(before.deep, after.deep) &&
    before.keys.every(key => keys.has(key))
  );
}

/** When reads were sent and done, in the order of time; of one moment, what was sent comes first. */
function byTime(views: View[]): { kind: 'sent' | 'done'; at: number; view: View }[] {
  const moments = views.flatMap(view => [
    { kind: 'sent' as const, at: view.at, view },
    { kind: 'done' as const, at: view.doneAt, view },
  ]);
  return moments.sort((a, b) => a.at - b.at || (a.kind === 'sent' ? -1 : 1));
}

/** An id that the session had for sure, unless all ended: the first one, and those of moves that were acknowledged. */
const isCertainId = (id: number, calls: Call[]): boolean =>
  id === 0 || calls.some(call => call.newId === id && isAcknowledged(call));

/** An end that was acknowledged, and ended the session. */
function isCertainEnd(end: Call, calls: Call[]): boolean {
  const mayHaveMoved = () =>
    calls.some(
      ({ effect, id, at, found }) => effect === 'move' && id === end.id && at < end.doneAt && found !== false,
    );
  return end.effect === 'end' && isAcknowledged(end) && (end.isSure ?? !mayHaveMoved());
}

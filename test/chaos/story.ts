import type { Problem } from './checker.js';
import type { Call, SessionHistory, Trouble } from './history.js';

/** Calls that are told around those that show the problem. */
const AROUND = 12;

/** What happened to one session, in the order of time: as short as shows the problem. */
export function tellStory(
  { promise, text, calls }: Problem,
  session: SessionHistory,
  troubles: Trouble[],
): string {
  const told = new Set(calls);
  const moments = calls.flatMap(({ at, doneAt }) => [at, doneAt]).filter(Number.isFinite);
  // What ends or moves the session is told from farther away.
  const distance = ({ at, effect }: Call) =>
    Math.min(...moments.map(moment => Math.abs(moment - at))) / (effect ? 10 : 1);
  const around = session.calls.filter(call => call.effect || call.tokens.length > 0 || call.seen);
  around.sort((a, b) => distance(a) - distance(b));
  const key = (call: Call) => `${call.name} ${call.at} ${call.client}`;
  const known = new Set(calls.map(key));
  around
    .filter(call => !known.has(key(call)))
    .slice(0, AROUND)
    .forEach(call => told.add(call));
  const [from, to] = [Math.min(...moments) - 3000, Math.max(...moments)];
  const lines = [
    ...Array.from(told, call => ({ at: call.at, line: lineOf(call, known.has(key(call))) })),
    ...troubles
      .filter(({ at, doneAt }) => at < to && doneAt > from)
      .map(({ name, at, doneAt, server }) => ({
        at,
        line: `  ${time(at)} to ${time(doneAt)}  ${name}${server === undefined ? '' : ` of server ${server}`}`,
      })),
  ];
  const story = lines.sort((a, b) => a.at - b.at).map(({ line }) => line);
  return [`BROKEN: ${promise}: ${text} (session ${session.name})`, ...story].join('\n');
}

const time = (ms: number): string => `${(ms / 1000).toFixed(3)} s`;

function lineOf(call: Call, isInvolved: boolean): string {
  const { name, client, server, at, doneAt, id, newId, status, found, tokens, seen, effect, isSure } = call;
  const parts = [
    `${isInvolved ? '*' : ' '} ${time(at)} to ${time(doneAt)}  client ${client}, server ${server}: ${name}, id ${id}`,
    ...(newId === undefined ? [] : [`to id ${newId}`]),
    ...(tokens.length > 0 ? [`adds ${tokens.join(' ')}`] : []),
    `${status}`,
    ...(found === false ? ['no such session'] : []),
    ...(effect === 'end' && isSure !== undefined ? [isSure ? 'surely ends it' : 'may end it'] : []),
    ...(seen ? [`saw ${shorten(seen.list)} | ${shorten(seen.deep)} | ${shorten(seen.keys)}`] : []),
  ];
  return parts.join(', ');
}

/** How many there are, and the last ones. */
const shorten = (tokens: string[]): string =>
  `${tokens.length}${
    tokens.length > 0
      ? ` (…${tokens
          .slice(-4)
          .map(token => token.replace(/^s\d+/, ''))
          .join(' ')})`
      : ''
  }`;

import type { OpenSession } from '../../lib/session/open-session.js';
import { dictOf } from './open-sessions.js';

/** What may be going on at the same time in one request. */
export const AT_ONCE = [
  'set',
  'load',
  'save',
  'touch',
  'reload',
  'regenerate',
  'destroy',
  'expire',
  'acquireLock',
  'releaseLock',
  'commit',
  'close',
] as const;
export type CallAtOnce = (typeof AT_ONCE)[number];

/** All that can be called first, with all that can be called second. */
export const PAIRS = AT_ONCE.flatMap(first => AT_ONCE.map(second => [first, second] as const));

/** Makes a call, and leaves its promise alone. @param value what `set` sets `c` to */
export function callAtOnce(
  name: CallAtOnce,
  open: OpenSession,
  value: unknown = 3,
): Promise<unknown> | undefined {
  const dict = dictOf(open);
  switch (name) {
    case 'set':
      dict.set('c', value);
      return undefined;
    case 'expire':
      dict.expire();
      return undefined;
    case 'close':
      open.close();
      return undefined;
    case 'commit': {
      const work = open.commit();
      work?.catch(() => undefined); // an answer waits for it
      return work;
    }
    default:
      return dict[name]();
  }
}

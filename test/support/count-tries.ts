import type { Lease, SessionBackend } from 'nest-sessions';

export interface CountedTries {
  backend: SessionBackend;
  /** When each try at a lock began that was not the first of its lease, in milliseconds of `performance.now()`. */
  readonly again: number[];
  /** How often each key was asked for. */
  readonly byKey: Map<string, number>;
}

/** The same backend, which notes the tries at locks. */
export function countTries(backend: SessionBackend): CountedTries {
  const again: number[] = [];
  const byKey = new Map<string, number>();
  const known = new WeakSet<Lease>();
  const counted = new Proxy(backend, {
    get(target, property) {
      const member: unknown = Reflect.get(target, property);
      if (typeof member !== 'function') {
        return member;
      }
      if (property !== 'lock') {
        return member.bind(target);
      }
      return (key: string, lease: Lease) => {
        byKey.set(key, (byKey.get(key) ?? 0) + 1);
        if (known.has(lease)) {
          again.push(performance.now());
        }
        known.add(lease);
        return target.lock(key, lease);
      };
    },
  });
  return { backend: counted, again, byKey };
}

import type { SessionBackend } from 'nest-sessions';

/** The same backend, which notes the names of the methods that are called. */
export function countCalls(backend: SessionBackend): { backend: SessionBackend; calls: string[] } {
  const calls: string[] = [];
  const counted = new Proxy(backend, {
    get(target, property) {
      const member: unknown = Reflect.get(target, property);
      if (typeof member !== 'function') {
        return member;
      }
      return (...args: unknown[]) => {
        calls.push(String(property));
        return member.apply(target, args);
      };
    },
  });
  return { backend: counted, calls };
}

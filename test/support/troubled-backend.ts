import type { SessionBackend } from 'nest-sessions';

export type Operation = keyof SessionBackend & string;

/** `refused`: the storage does not do it. `unanswered`: it does it, and the answer is lost on the way. */
export type Trouble = 'refused' | 'unanswered';

/** A backend that notes the keys of all records that were ever created, and fails when it is told to. */
export interface TroubledBackend extends SessionBackend {
  readonly created: Set<string>;
  /** Lets the next operations of a kind fail. */
  failNext(operation: Operation, trouble: Trouble, times?: number): void;
  /** From now on it answers. */
  forgetTroubles(): void;
}

export function troubled(backend: SessionBackend): TroubledBackend {
  const created = new Set<string>();
  const troubles: { operation: Operation; trouble: Trouble }[] = [];
  const control = {
    created,
    failNext(operation: Operation, trouble: Trouble, times = 1): void {
      troubles.push(...Array.from({ length: times }, () => ({ operation, trouble })));
    },
    forgetTroubles(): void {
      troubles.length = 0;
    },
  };
  const run = async (operation: string, args: unknown[], member: (...args: unknown[]) => unknown) => {
    if (operation === 'create') {
      created.add(args[0] as string);
    }
    const index = troubles.findIndex(each => each.operation === operation);
    const trouble = index < 0 ? undefined : troubles.splice(index, 1)[0]!.trouble;
    const result = trouble === 'refused' ? undefined : await member.apply(backend, args);
    if (trouble) {
      throw new Error(`The storage fails to ${operation}: ${trouble}`);
    }
    return result;
  };
  return new Proxy(control as unknown as TroubledBackend, {
    get(target, property) {
      if (property in control) {
        return Reflect.get(target, property);
      }
      const member: unknown = Reflect.get(backend, property);
      return typeof member === 'function'
        ? (...args: unknown[]) => run(String(property), args, member as (...args: unknown[]) => unknown)
        : member;
    },
  });
}

import { createParamDecorator, type ExecutionContext, type PipeTransform, type Type } from '@nestjs/common';
import type { SessionKey } from '../session/session-data.js';
import type { SessionParamOptions } from '../session/session-context.js';
import type { Session as SessionObject } from '../session/session.js';
import { requestOf } from './nest-internals.js';
import { requireContext } from './find-context.js';

type Pipe = Type<PipeTransform> | PipeTransform;

/** See `Session`. */
export interface SessionToken {
  (options?: SessionParamOptions): ParameterDecorator;
  (key: SessionKey, ...pipes: Pipe[]): ParameterDecorator;
  // What makes it an injection token, also for emitDecoratorMetadata; it is never called with `new`.
  new (...args: never): Session;
  readonly prototype: Session;
}

export interface Session extends SessionObject {}

const SessionParam = createParamDecorator(
  (what: SessionKey | SessionParamOptions | undefined, context: ExecutionContext): Promise<unknown> => {
    const request = requireContext(requestOf(context));
    return typeof what === 'string' ? request.use().then(session => session.get(what)) : request.use(what);
  },
);

/**
 * - `@Session()`: the request's session, loaded and locked, as a handler's parameter;
 *   `@Session('userId')` one value of it; `@Session({ readOnly: true })` without the lock, frozen;
 *   `@Session({ touch: false })` does not prolong it.
 * - `constructor(private readonly session: Session)`: the same, in a request-scoped provider.
 * - The type of both.
 */
export const Session: SessionToken = function Session(
  what?: SessionKey | SessionParamOptions,
  ...pipes: Pipe[]
) {
  return (target: object, handler: string | symbol | undefined, index: number) => {
    if (handler === undefined) {
      throw new TypeError(
        '@Session() is for parameters of handlers; in a constructor, write `session: Session`',
      );
    }
    SessionParam(what as SessionKey, ...pipes)(target, handler, index);
    // To a global ValidationPipe that validates custom decorators, a parameter of the type `Session` looks like a body
    // to be turned into an instance. As an Object, it is left alone.
    const types: unknown[] | undefined = Reflect.getMetadata('design:paramtypes', target, handler);
    if (types?.[index] === Session) {
      Reflect.defineMetadata('design:paramtypes', types.with(index, Object), target, handler);
    }
  };
} as SessionToken;

import {
  createParamDecorator,
  UseInterceptors,
  type ExecutionContext,
  type PipeTransform,
  type Type,
} from '@nestjs/common';
import { Observable } from 'rxjs';
import type { SessionKey } from '../session/session-data.js';
import type { Session as SessionObject } from '../session/session.js';
import { requestOf, requireHttpContext } from './http-session.context.js';
import { SessionInterceptor } from './session.interceptor.js';

export interface SessionParamOptions {
  /** Read without waiting for the lock; the session cannot be changed. Default false. */
  readOnly?: boolean;
}

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
    const request = requireHttpContext(requestOf(context));
    return typeof what === 'string'
      ? request.use().then(session => session.get(what))
      : request.use({ readOnly: what?.readOnly ?? false });
  },
);

/**
 * - `@Session()`: the request's session, loaded and locked, as a handler's parameter;
 *   `@Session('userId')` one value of it; `@Session({ readOnly: true })` without the lock, frozen.
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
    // With a type that says so (TypeScript's metadata; `async` will do), it returns no Observable.
    const returns: unknown = Reflect.getMetadata('design:returntype', target, handler);
    if (returns === undefined || returns === Observable) {
      addInterceptor(target, handler);
    }
  };
} as SessionToken;

/**
 * An Observable is let go of when its client leaves, and then nobody replies: the interceptor frees the lock. For all
 * other handlers, `commitBeforeReply` does the same work faster.
 */
function addInterceptor(target: object, handler: string | symbol): void {
  const descriptor = Object.getOwnPropertyDescriptor(target, handler)!;
  const present: unknown[] = Reflect.getMetadata('__interceptors__', descriptor.value) ?? [];
  if (!present.includes(SessionInterceptor)) {
    UseInterceptors(SessionInterceptor)(target, handler, descriptor);
  }
}

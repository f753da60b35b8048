import { HttpException } from '@nestjs/common';

/**
 * Base of the exceptions that are the application's to fix: a bad call or data that cannot be stored.
 * They are no `HttpException`, so that Nest logs them and answers a plain 500 without their details.
 */
export class SessionException extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** Wrong options: thrown once, when the module starts, naming every problem and its remedy. */
export class SessionOptionsException extends SessionException {
  constructor(
    readonly problems: readonly string[],
    options?: ErrorOptions,
  ) {
    super(`The session options are wrong:\n${problems.map(problem => `  - ${problem}`).join('\n')}`, options);
  }
}

/** No session can be had here: outside of a request, or on a route that has none. */
export class SessionContextException extends SessionException {}

/** A session, or a new id, was begun when the headers of the answer had gone, and the cookie with them. */
export class SessionTooLateException extends SessionContextException {
  constructor() {
    super(
      'The answer has begun, so that the cookie of a new session or id cannot reach the client: begin it before the ' +
        'first byte is sent',
    );
  }
}

/** The session was used when its request had its answer already, and nothing could be stored any more. */
export class SessionAnsweredException extends SessionException {
  /** @param end what the use came after */
  constructor(end = 'the answer had been sent') {
    super(
      `The session was used after ${end}: await what uses it before that. For work after the answer, use ` +
        'SessionStore.update(id, fn)',
    );
  }
}

/** `req.session` was used before the session was loaded, where nobody can wait for that. */
export class SessionNotLoadedException extends SessionException {
  /** @param name the property that was used */
  constructor(name: string) {
    super(
      `req.session.${name} was used before the session was loaded. In a handler, take the session as a parameter, ` +
        'with @Session(). For middleware and guards that use req.session at once, load it ahead of them: ' +
        "app.use('/path', loadSession) in main.ts, or eager: true in SessionsModule.forRoot() for all requests. If " +
        "another package's req.session is meant, set requestSession: false",
    );
  }
}

/** The storage in use cannot do what was asked, e.g. list the sessions of an owner. */
export class SessionUnsupportedException extends SessionException {
  constructor(readonly operation: string) {
    super(
      `The session storage in use does not support ${operation}(). Use a storage that does, such as 'postgresql', 'redis', 'file' or 'ram'.`,
    );
  }
}

/** The data holds a value that would not come back as it went in. The stored record stays as it was. */
export class SessionSerializationException extends SessionException {
  /** Where the value is, e.g. `data.cart[2].price`. */
  readonly path: string;

  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(`Cannot store the session: ${path} ${reason}`, options);
    this.path = path;
  }
}

/** The serialized data is larger than `maxSize`. The stored record stays as it was. */
export class SessionSizeException extends SessionSerializationException {
  /**
   * @param size bytes of the serialized data
   * @param maxSize bytes allowed
   */
  constructor(
    readonly size: number,
    readonly maxSize: number,
  ) {
    super('data', `takes ${size} bytes, more than the ${maxSize} that the option maxSize allows`);
  }
}

/** Base of the exceptions that a client is answered with, through the exception filters. */
export class SessionHttpException extends HttpException {
  /** Seconds for the `Retry-After` header, if trying again can help. */
  readonly retryAfter: number | undefined;

  constructor(message: string, status: number, options: { retryAfter?: number; cause?: unknown } = {}) {
    super({ statusCode: status, message }, status, { cause: options.cause });
    this.name = new.target.name;
    this.message = message;
    this.retryAfter = options.retryAfter;
    if (options.retryAfter !== undefined) {
      retryAfters.set(this.getResponse() as object, options.retryAfter);
    }
  }
}

/** By the body that an exception is answered with: all that the one who sends it sees of the exception. */
const retryAfters = new WeakMap<object, number>();

/** Seconds for the `Retry-After` header of an answer with this body, if it is an exception's of this package. */
export const retryAfterOf = (body: unknown): number | undefined =>
  typeof body === 'object' && body !== null ? retryAfters.get(body) : undefined;

/** 503: the storage failed. Never treated as an absent session; the client keeps its cookie. */
export class SessionStorageException extends SessionHttpException {
  constructor(
    readonly operation: string,
    cause: unknown,
  ) {
    super('The session storage is not available', 503, { retryAfter: 1, cause });
  }
}

/** 503: other requests kept the session locked for longer than `lockTimeout`. */
export class SessionLockTimeoutException extends SessionHttpException {
  constructor() {
    super('The session is locked by another request', 503, { retryAfter: 1 });
  }
}

/** 503: as many requests as `maxWaiters` allows wait for the session already. */
export class SessionTooManyWaitersException extends SessionHttpException {
  constructor() {
    super('Too many requests wait for the session', 503, { retryAfter: 1 });
  }
}

/** 503: this request held the lock for longer than its lease could be renewed; its changes were refused. */
export class SessionLeaseLostException extends SessionHttpException {
  constructor() {
    super('The session was taken over by another request', 503, { retryAfter: 1 });
  }
}

/** 403: the owner has as many sessions as `maxSessionsPerOwner` allows, and `beyondMaxSessions` is `'refuse'`. */
export class SessionLimitException extends SessionHttpException {
  constructor() {
    super('The account has as many sessions as it may have', 403);
  }
}

/** 409: the session was destroyed, or expired, while this request changed it; the changes were dropped. */
export class SessionDestroyedException extends SessionHttpException {
  constructor() {
    super('The session ended while the request was running', 409);
  }
}

/** 499: the client went away while its request waited for the session. Nobody sees this answer. */
export class SessionRequestClosedException extends SessionHttpException {
  constructor() {
    super('The client closed the request', 499);
  }
}

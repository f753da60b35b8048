/**
 * All that this package relies on, and Nest, Express, Fastify or Node.js do not promise. Each has a check, which fails
 * the start of the application, as a wrong guess here would lose sessions silently. docs/ARCHITECTURE.md says why each is
 * needed; test/package/matrix.spec.ts runs them on every supported version.
 */
import { createParamDecorator, UseGuards, type ExecutionContext, type HttpServer } from '@nestjs/common';
import type { ExternalContextCreator } from '@nestjs/core';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';

/** Nest's own names of metadata. It exports them for internal use only. */
export const GUARDS_METADATA = '__guards__';
export const ROUTE_ARGS_METADATA = '__routeArguments__';
export const SSE_METADATA = '__sse__';

/** Stands for the headers of an answer that waits. */
const PARKED = 'waiting for the session';

type Handler = (...args: any[]) => unknown;
type Adapter = HttpServer & Record<string, Handler>;

/** The methods of an adapter that Nest registers routes with. `use` is what it takes for a verb that it does not know. */
const VERBS = [
  'get',
  'post',
  'put',
  'delete',
  'patch',
  'options',
  'head',
  'all',
  'search',
  'query',
  'propfind',
  'proppatch',
  'mkcol',
  'copy',
  'move',
  'lock',
  'unlock',
];

/**
 * Runs a route's handler, with all guards, interceptors, pipes and filters in it. Nest gives no public way to see a
 * request where its route begins.
 * @param args the handler's; one of the first two is the request, or the context of a GraphQL request
 */
export type RouteEntry = (args: readonly unknown[], run: () => unknown, kind: EntryKind) => unknown;

/** `answer`: the handlers of unknown paths and of errors. */
export type EntryKind = 'middleware' | 'route' | 'answer';

/** @throws Error where Nest has other names for its metadata, or Node.js other fields for an answer's state */
export function checkInternals(): void {
  class Probe {}
  const descriptor = { value() {} };
  UseGuards({ canActivate: () => true })(Probe.prototype, 'handler', descriptor);
  createParamDecorator(() => undefined)()(Probe.prototype, 'handler', 0);
  if (
    !Reflect.hasMetadata(GUARDS_METADATA, descriptor.value) ||
    !Reflect.hasMetadata(ROUTE_ARGS_METADATA, Probe, 'handler')
  ) {
    throw unknown('@nestjs/common', 'other names for metadata');
  }
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  park(response, true);
  const isParked = response.headersSent && response.writableEnded;
  unpark(response);
  if (!isParked || response.headersSent || response.writableEnded) {
    throw unknown('Node.js', 'another way to mark an answer as sent');
  }
}

/** Nest waits for what `reply` returns, and gives its failure to the exception filters. */
export function beforeReply(
  adapter: HttpServer,
  hook: (send: () => unknown, response: unknown, body: unknown, statusCode: number | undefined) => unknown,
): void {
  if (typeof adapter.reply !== 'function') {
    throw unknown('the HTTP adapter', 'no reply()');
  }
  const send = adapter.reply.bind(adapter);
  adapter.reply = (response: any, body: any, statusCode?: number) =>
    hook(() => send(response, body, statusCode), response, body, statusCode);
}

/**
 * Routes, the handler of unknown paths and the one of errors go through `entry`. On Fastify by its public hook; on
 * other adapters by the methods that Nest registers them with, before it does.
 * @returns how many routes there are so far
 */
export function enterRoutes(adapter: HttpServer, entry: RouteEntry): () => number {
  let count = 0;
  const target = adapter as Adapter;
  if (adapter.getType?.() === 'fastify') {
    adapter.getInstance().addHook('onRoute', (route: { handler: Handler }) => {
      count++;
      route.handler = wrap(route.handler, entry, 'route');
    });
  } else {
    for (const verb of VERBS.filter(name => typeof target[name] === 'function')) {
      const register = target[verb]!.bind(adapter);
      target[verb] = (...args: unknown[]) => {
        count += Number(args.length > 1);
        return register(
          ...args.map(arg => (typeof arg === 'function' ? wrap(arg as Handler, entry, 'route') : arg)),
        );
      };
    }
  }
  const makeFactory = target.createMiddlewareFactory!.bind(adapter);
  target.createMiddlewareFactory = method => enterMiddleware(makeFactory(method), entry) as never;
  for (const name of ['setNotFoundHandler', 'setErrorHandler']) {
    const set = target[name]!.bind(adapter);
    target[name] = (handler: Handler, ...rest: unknown[]) => set(wrap(handler, entry, 'answer'), ...rest);
  }
  return () => count;
}

/** What mounts the middleware of modules; Fastify's adapter promises it. */
function enterMiddleware(mount: unknown, entry: RouteEntry): unknown {
  return mount instanceof Promise
    ? mount.then(mounted => enterMiddleware(mounted, entry))
    : (path: string, handler: Handler) => (mount as Handler)(path, wrap(handler, entry, 'middleware'));
}

/** Resolvers of GraphQL, and all else that is called through Nest's enhancers without being a route. */
export function enterResolvers(creator: ExternalContextCreator, entry: RouteEntry): void {
  const create = (creator.create as Handler).bind(creator);
  (creator as unknown as Record<string, Handler>).create = (...args) => {
    const handler = create(...args) as Handler;
    // A resolver's arguments are the root, the arguments, and the context.
    return (...params: unknown[]) => entry([params[2]], () => handler(...params), 'route');
  };
}

/** The request, or the context of a GraphQL request, that a handler, guard or interceptor is called for. */
export function requestOf(context: ExecutionContext): unknown {
  switch (context.getType<string>()) {
    case 'http':
      return context.switchToHttp().getRequest();
    case 'graphql':
      return context.getArgByIndex(2); // of a resolver's root, arguments, context and info
    default:
      return undefined;
  }
}

/** Whether a parked answer has ended. */
const ENDED = Symbol('ended');

type Parked = ServerResponse & { _header: string | null; finished: boolean; [ENDED]?: boolean };

/** A server that closes takes an answer with `finished` for sent, and cuts its connection: so that field stays true to facts. */
const WRITABLE_ENDED: PropertyDescriptor = {
  configurable: true,
  get(this: Parked) {
    return this.finished || this[ENDED] === true;
  },
};

/**
 * Makes an answer behave as if its headers, or all of it, had been sent: as Node.js itself looks at the field, a late
 * status or header does what it does without a session. For a late `write` or `end` there is `callParked`.
 */
export function park(res: ServerResponse, isEnded: boolean): void {
  if ('_header' in res) {
    const parked = res as Parked;
    parked._header ??= PARKED;
    parked[ENDED] = isEnded;
    if (isEnded) {
      Object.defineProperty(res, 'writableEnded', WRITABLE_ENDED);
    }
  } else {
    // An answer of HTTP/2
    Object.defineProperty(res, 'headersSent', { value: true, configurable: true });
    Object.defineProperty(res, 'writableEnded', { value: isEnded, configurable: true });
  }
}

export function unpark(res: ServerResponse): void {
  if ('_header' in res) {
    const parked = res as Parked;
    parked._header = parked._header === PARKED ? null : parked._header;
    parked[ENDED] = false;
  } else {
    Reflect.deleteProperty(res, 'headersSent');
    Reflect.deleteProperty(res, 'writableEnded');
  }
}

/** Lets a method of Node.js' own do with a parked answer what it does with one that was sent. */
export function callParked(res: ServerResponse, call: () => unknown): unknown {
  if (!('_header' in res)) {
    return call();
  }
  const parked = res as Parked;
  const { finished } = parked;
  parked.finished = finished || parked[ENDED] === true;
  try {
    return call();
  } finally {
    parked.finished = finished;
  }
}

/** Whether express-session or cookie-session is mounted in an Express application: each keeps `req.session` for itself. */
export function hasExpressSession(app: unknown): boolean {
  return routerStack(app).some(
    ({ handle, name }) =>
      name === '_cookieSession' || (name === 'session' && String(handle).includes('sessionStore')),
  );
}

function routerStack(app: unknown): { name?: string; handle?: unknown }[] {
  try {
    return (app as { router?: { stack?: [] } }).router?.stack ?? [];
  } catch {
    return []; // an application of Express 4, where `router` throws
  }
}

/** Keeps what Nest and others read from a handler: its name, its properties, its metadata, the number of parameters. */
function wrap(handler: Handler, entry: RouteEntry, kind: EntryKind): Handler {
  const isErrorHandler = handler.length === 4; // which is how Express knows one
  const wrapped: Handler = isErrorHandler
    ? (error, req, res, next) => entry([error, req], () => handler(error, req, res, next), kind)
    : (...args) => entry(args, () => handler(...args), kind);
  for (const key of Reflect.getMetadataKeys(handler)) {
    Reflect.defineMetadata(key, Reflect.getMetadata(key, handler), wrapped);
  }
  return Object.defineProperty(Object.assign(wrapped, handler), 'name', {
    configurable: true,
    value: handler.name,
  });
}

const unknown = (what: string, difference: string): Error =>
  new Error(`nest-sessions does not know this version of ${what}: it has ${difference}. Please report it`);

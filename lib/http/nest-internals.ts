/**
 * All that this package relies on, and Nest, Express, Fastify or Node.js do not promise. Each has a check, which fails
 * the start of the application, as a wrong guess here would lose sessions silently. docs/ARCHITECTURE.md says why each is
 * needed; test/package/matrix.spec.ts runs them on every supported version.
 */
import { createParamDecorator, UseGuards, type ExecutionContext, type HttpServer } from '@nestjs/common';
import type { ExternalContextCreator, ModulesContainer } from '@nestjs/core';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';

/** Nest's own names of metadata. It exports them for internal use only. */
export const GUARDS_METADATA = '__guards__';
export const ROUTE_ARGS_METADATA = '__routeArguments__';
export const SSE_METADATA = '__sse__';
const FIELD_RESOLVER_METADATA = 'graphql:resolve_property';

/** Stands for the headers of an answer that waits. */
const PARKED = 'waiting for the session';

type Handler = (...args: any[]) => unknown;
type Adapter = HttpServer & Record<string, Handler>;

const enteredFields = new WeakSet<Handler>();

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

/**
 * Field resolvers without parameter decorators: Nest gives them to GraphQL as they are. Called before it looks for them;
 * a class that several applications have is wrapped once, as the entry goes by the request.
 */
export function enterPlainFieldResolvers(prototype: object, names: string[], entry: RouteEntry): void {
  for (const name of names) {
    const method = (prototype as Record<string, Handler>)[name]!;
    const isPlainField =
      Reflect.hasMetadata(FIELD_RESOLVER_METADATA, method) &&
      !Reflect.hasMetadata(ROUTE_ARGS_METADATA, prototype.constructor, name);
    if (isPlainField && !enteredFields.has(method)) {
      const wrapped = describeAs(method, function (this: unknown, ...params: unknown[]) {
        return entry([params[2]], () => method.apply(this, params), 'route');
      });
      enteredFields.add(wrapped);
      Object.defineProperty(prototype, name, { value: wrapped, writable: true, configurable: true });
    }
  }
}

type Module = NonNullable<ReturnType<ModulesContainer['get']>>;

/**
 * Those whose `imports` name a module. Nest gives a global module to all others as well, but last, and its own first of
 * the global ones. Without that order, all count: this is for the text of an error.
 */
export function importersOf(module: Module, modules: Iterable<Module>): Module[] {
  return [...modules].filter(({ imports }) => {
    const all = [...imports];
    const globals = all.findIndex(({ metatype }) => metatype.name === 'InternalCoreModule');
    return all.slice(0, globals < 0 ? all.length : globals).includes(module);
  });
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

/** Where Node.js keeps what an answer tells of itself; with HTTP/2, it is the stream that knows of the headers. */
type AnswerFields = ServerResponse & { _header: string | null };
type Http2Response = ServerResponse & { stream?: object };

/**
 * Makes an answer behave as if its headers, or all of it, had been sent: as Node.js itself looks at these fields, a late
 * status or header does what it does without a session. `finished` stays as it is: a server that closes takes an answer
 * that has it for sent, and cuts its connection.
 */
export function park(res: ServerResponse, isEnded: boolean): void {
  if (isHttp1(res)) {
    (res as AnswerFields)._header ??= PARKED;
  } else {
    Object.defineProperty(headersOf(res), 'headersSent', { value: true, configurable: true });
  }
  if (isEnded) {
    Object.defineProperty(res, 'writableEnded', { value: true, configurable: true });
  }
}

export function unpark(res: ServerResponse): void {
  if (isHttp1(res)) {
    const fields = res as AnswerFields;
    fields._header = fields._header === PARKED ? null : fields._header;
  } else {
    Reflect.deleteProperty(headersOf(res), 'headersSent');
  }
  Reflect.deleteProperty(res, 'writableEnded');
}

/** HTTP/2 has a class of its own, and warns whoever looks at `statusMessage`. */
export const isHttp1 = (res: object): boolean => res instanceof ServerResponse;

const headersOf = (res: ServerResponse): object => (res as Http2Response).stream ?? res;

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
  return describeAs(handler, wrapped);
}

function describeAs(handler: Handler, wrapped: Handler): Handler {
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

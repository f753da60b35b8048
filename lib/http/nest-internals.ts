/**
 * All that this package relies on, and Nest, Express, Fastify or Node.js do not promise. Each has a check, which fails
 * the start of the application, as a wrong guess here would lose sessions silently. docs/ARCHITECTURE.md says why each is
 * needed; test/package/matrix.spec.ts runs them on every supported version.
 */
import {
  createParamDecorator,
  RequestMethod,
  UseGuards,
  type ExecutionContext,
  type HttpServer,
} from '@nestjs/common';
import { MetadataScanner, type ExternalContextCreator, type ModulesContainer } from '@nestjs/core';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { callInContext, runInContext, runWithoutContext } from '../session/session-context.js';
import { findContext } from './find-context.js';
import type { RequestContext } from './request-context.js';

/** Nest's own names of metadata. It exports them for internal use only. */
export const GUARDS_METADATA = '__guards__';
export const ROUTE_ARGS_METADATA = '__routeArguments__';
export const SSE_METADATA = '__sse__';
const FIELD_RESOLVER_METADATA = 'graphql:resolve_property';

/** Which argument of a handler is the request; of a resolver (root, arguments, context, info), what has it. */
const REQUEST_AT: Record<string, number> = { http: 0, graphql: 2 };

/** Stands for the headers of an answer that waits. */
const PARKED = 'waiting for the session';

type Handler = (...args: any[]) => unknown;

/** How a handler is called in the context of its own request. */
type Entry = (context: RequestContext, run: () => unknown) => unknown;

const ROUTE: Entry = (context, run) => context.enter(run);

const entered = new WeakSet<Handler>();

/** @throws Error where Nest has other names for its metadata, or Node.js other fields for an answer's state */
export function checkInternals(): void {
  class Probe {}
  const descriptor = { value() {} };
  UseGuards({ canActivate: () => true })(Probe.prototype, 'handler', descriptor);
  createParamDecorator(() => undefined)()(Probe.prototype, 'handler', 0);
  check(
    Reflect.hasMetadata(GUARDS_METADATA, descriptor.value) &&
      Reflect.hasMetadata(ROUTE_ARGS_METADATA, Probe, 'handler'),
    '@nestjs/common has other names for metadata',
  );
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  park(response, true);
  const isParked = response.headersSent && response.writableEnded;
  unpark(response);
  check(
    isParked && !response.headersSent && !response.writableEnded,
    'Node.js has another way to mark an answer as sent',
  );
}

function check(isAsKnown: boolean, difference: string): void {
  if (!isAsKnown) {
    throw new Error(`nest-sessions does not know this version: ${difference}. Please report it`);
  }
}

export const isFastify = (adapter: HttpServer | undefined): boolean => adapter?.getType?.() === 'fastify';

/** Nest waits for what `reply` returns, and gives its failure to the exception filters. */
export function changeReply(adapter: HttpServer, change: (reply: Handler) => Handler): void {
  check(typeof adapter.reply === 'function', 'the HTTP adapter has no reply()');
  adapter.reply = change(adapter.reply.bind(adapter));
}

/**
 * Has the handlers of routes, with all guards, interceptors, pipes and filters in them, those of unknown paths and of
 * errors, and middleware of modules called in the context of their own request. Nest gives no public way to see a request
 * where its route begins: on Fastify a public hook does; on other adapters the methods that Nest registers handlers with.
 * @returns whether there was a route so far
 */
export function enterRoutes(adapter: HttpServer): () => boolean {
  const target = adapter as HttpServer & Record<string, Handler>;
  let hasRoutes = false;
  const enterRoute = (handler: Handler) => {
    hasRoutes = true;
    return enter(handler, ROUTE);
  };
  if (isFastify(adapter)) {
    adapter.getInstance().addHook('onRoute', (route: { handler: Handler }) => {
      route.handler = enterRoute(route.handler);
    });
  } else {
    const verbs = Object.keys(RequestMethod).map(name => name.toLowerCase());
    for (const verb of verbs.filter(name => typeof target[name] === 'function')) {
      target[verb] = changeHandlers(target[verb]!.bind(adapter), enterRoute);
    }
  }
  // The handler of errors gets the error first, then the request.
  for (const [name, requestAt] of Object.entries({ setNotFoundHandler: 0, setErrorHandler: 1 })) {
    const enterAnswer = (handler: Handler) => enter(handler, runInContext, requestAt);
    target[name] = changeHandlers(target[name]!.bind(adapter), enterAnswer);
  }
  const makeMount = target.createMiddlewareFactory!.bind(adapter);
  target.createMiddlewareFactory = async method =>
    changeHandlers(await makeMount(method), handler => enter(handler, callInContext));
  return () => hasRoutes;
}

/** Resolvers of GraphQL, and all else that is called through Nest's enhancers without being a route. */
export function enterResolvers(creator: ExternalContextCreator): void {
  const target = creator as unknown as Record<string, Handler>;
  const create = target.create!.bind(creator);
  target.create = (...args) => enter(create(...args) as Handler, ROUTE, REQUEST_AT.graphql);
}

/**
 * Field resolvers without parameter decorators: Nest gives them to GraphQL as they are. Called before GraphQL's module
 * looks for them; a class that several applications have is changed once.
 */
export function enterPlainFieldResolvers(modules: ModulesContainer): void {
  const scanner = new MetadataScanner();
  const providers = [...modules.values()].flatMap(module => Array.from(module.providers.values()));
  for (const prototype of providers.map(({ metatype }) => metatype?.prototype)) {
    for (const name of scanner.getAllMethodNames(prototype)) {
      const method: Handler = prototype[name];
      const isPlainField =
        Reflect.hasMetadata(FIELD_RESOLVER_METADATA, method) &&
        !Reflect.hasMetadata(ROUTE_ARGS_METADATA, prototype.constructor, name);
      if (isPlainField && !entered.has(method)) {
        const value = enter(method, ROUTE, REQUEST_AT.graphql);
        Object.defineProperty(prototype, name, { value, writable: true, configurable: true });
      }
    }
  }
}

/** What registers handlers, with others in their place. */
const changeHandlers =
  (register: Handler, change: (handler: Handler) => Handler): Handler =>
  (...args) =>
    register(...args.map(arg => (typeof arg === 'function' ? change(arg) : arg)));

/**
 * A handler that is called by way of `entry`. Keeps what Nest and others read from it: its name, its properties, its
 * metadata, the number of parameters (Express knows the handlers of errors by four).
 */
function enter(handler: Handler, entry: Entry, requestAt = handler.length === 4 ? 1 : 0): Handler {
  const { name, length } = handler;
  const wrapped = function (this: unknown, ...args: unknown[]) {
    const context = findContext(args[requestAt]);
    const run = () => handler.apply(this, args);
    return context ? entry(context, run) : runWithoutContext(run);
  };
  for (const key of Reflect.getMetadataKeys(handler)) {
    Reflect.defineMetadata(key, Reflect.getMetadata(key, handler), wrapped);
  }
  Object.defineProperties(Object.assign(wrapped, handler), {
    name: { value: name, configurable: true },
    length: { value: length, configurable: true },
  });
  entered.add(wrapped);
  return wrapped;
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
  const at = REQUEST_AT[context.getType<string>()];
  return at === undefined ? undefined : context.getArgByIndex(at);
}

/** Where Node.js keeps what an answer tells of itself; with HTTP/2, it is the stream that knows of the headers. */
type AnswerFields = ServerResponse & { _header: string | null; stream?: object };

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

const headersOf = (res: ServerResponse): object => (res as AnswerFields).stream ?? res;

/** Whether express-session or cookie-session is mounted in an Express application: each keeps `req.session` for itself. */
export function hasExpressSession(app: unknown): boolean {
  try {
    const { router } = app as { router?: { stack?: { name?: string; handle?: unknown }[] } };
    return (router?.stack ?? []).some(
      ({ handle, name }) =>
        name === '_cookieSession' || (name === 'session' && String(handle).includes('sessionStore')),
    );
  } catch {
    return false; // an application of Express 4, where `router` throws
  }
}

import { Session as NestSession, type CanActivate, type Type } from '@nestjs/common';
import { MetadataScanner, type ModulesContainer } from '@nestjs/core';
import { findContext } from '../http/find-context.js';
import { GUARDS_METADATA, requestOf, ROUTE_ARGS_METADATA } from '../http/nest-internals.js';
import { sessionRouteGuard } from '../http/session-route.guard.js';
import { viewOf } from './express-session.js';

/** How Nest marks a parameter with its own `@Session()`: `<number>:<index>`. */
const SESSION_MARK = markOfNestSession();

/** Loads the session for a handler that takes it with `@nestjs/common`'s `@Session()`, which takes `req.session`. */
const loadForParam: CanActivate = {
  async canActivate(context) {
    const request = requestOf(context) as { session?: unknown };
    const session = findContext(request);
    // Another package's req.session is its own affair.
    if (session && request.session && request.session === viewOf(session)) {
      await session.use();
    }
    return true;
  },
};

/** Gives the handlers with `@nestjs/common`'s `@Session()` a guard that loads it. Called before routes are made. */
export function loadForNestSession(modules: ModulesContainer): void {
  const scanner = new MetadataScanner();
  for (const { controllers } of modules.values()) {
    for (const { metatype } of controllers.values()) {
      const { prototype } = metatype as Type;
      for (const name of scanner.getAllMethodNames(prototype)) {
        const marks = Object.keys(Reflect.getMetadata(ROUTE_ARGS_METADATA, metatype!, name) ?? {});
        if (marks.some(mark => mark.startsWith(SESSION_MARK))) {
          addGuard(prototype[name]);
        }
      }
    }
  }
}

/** Ahead of the handler's other guards, but for the one that says how it locks. */
function addGuard(handler: object): void {
  const guards: unknown[] = Reflect.getMetadata(GUARDS_METADATA, handler) ?? [];
  if (!guards.includes(loadForParam)) {
    const at = guards.indexOf(sessionRouteGuard) + 1;
    Reflect.defineMetadata(GUARDS_METADATA, guards.toSpliced(at, 0, loadForParam), handler);
  }
}

function markOfNestSession(): string {
  class Probe {}
  NestSession()(Probe.prototype, 'handler', 0);
  const [mark] = Object.keys(Reflect.getMetadata(ROUTE_ARGS_METADATA, Probe, 'handler'));
  return mark!.replace(/0$/, '');
}

import { Session as NestSession, type CanActivate, type Type } from '@nestjs/common';
import { MetadataScanner, type ModulesContainer } from '@nestjs/core';
import { GUARDS_METADATA, requestOf, ROUTE_ARGS_METADATA } from '../http/nest-internals.js';
import { findContext } from '../http/find-context.js';
import { SessionRouteGuard } from '../http/session-route.guard.js';
import { viewOf } from './request-session.js';

/** How Nest marks a parameter with its own `@Session()`: `<number>:<index>`. */
const SESSION_MARK = markOfNestSession();

/** Loads the session for a handler that takes it with `@nestjs/common`'s `@Session()`, which takes `req.session`. */
const loadForParam: CanActivate = {
  async canActivate(context) {
    const request = requestOf(context) as { session?: unknown };
    const session = findContext(request);
    // Another package's req.session is its own affair.
    if (session && request.session !== undefined && request.session === viewOf(session)) {
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
        if (takesNestSession(metatype as Type, name)) {
          addGuard(prototype[name]);
        }
      }
    }
  }
}

function takesNestSession(controller: Type, handler: string): boolean {
  const params: object = Reflect.getMetadata(ROUTE_ARGS_METADATA, controller, handler) ?? {};
  return Object.keys(params).some(mark => mark.startsWith(SESSION_MARK));
}

/** Ahead of the handler's other guards, but for the one that says how it locks. */
function addGuard(handler: object): void {
  const guards: unknown[] = Reflect.getMetadata(GUARDS_METADATA, handler) ?? [];
  if (!guards.includes(loadForParam)) {
    const at = guards.indexOf(SessionRouteGuard) + 1;
    Reflect.defineMetadata(GUARDS_METADATA, guards.toSpliced(at, 0, loadForParam), handler);
  }
}

function markOfNestSession(): string {
  class Probe {}
  NestSession()(Probe.prototype, 'handler', 0);
  const [mark] = Object.keys(Reflect.getMetadata(ROUTE_ARGS_METADATA, Probe, 'handler'));
  return mark!.slice(0, mark!.indexOf(':') + 1);
}

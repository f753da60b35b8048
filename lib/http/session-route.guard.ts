import { applyDecorators, SetMetadata, type CanActivate } from '@nestjs/common';
import type { SessionLockingMode } from '../options/session-options.js';
import { GUARDS_METADATA, requestOf } from './nest-internals.js';
import { findContext } from './find-context.js';

const ROUTE = 'nest-sessions:route';
type RouteSetting = SessionLockingMode | 'skip';

/** Applies `@SkipSession()` and `@SessionLocking()`, which bring it along. Lets every request pass. */
export const sessionRouteGuard: CanActivate = {
  async canActivate(context) {
    const session = findContext(requestOf(context));
    // A handler's own setting wins over its controller's.
    const setting: RouteSetting =
      Reflect.getMetadata(ROUTE, context.getHandler()) ?? Reflect.getMetadata(ROUTE, context.getClass());
    if (setting === 'skip') {
      session?.skip();
    } else {
      await session?.setLocking(setting);
    }
    return true;
  },
};

const forRoute = (setting: RouteSetting) => applyDecorators(SetMetadata(ROUTE, setting), useRouteGuardFirst);

/** As `UseGuards()`, but ahead of the guards beside it, whichever decorator is written first. */
function useRouteGuardFirst(target: object, _name?: string | symbol, descriptor?: PropertyDescriptor): void {
  const decorated: object = descriptor?.value ?? target;
  const guards: unknown[] = Reflect.getMetadata(GUARDS_METADATA, decorated) ?? [];
  Reflect.defineMetadata(GUARDS_METADATA, [sessionRouteGuard, ...guards], decorated);
}

/** For a handler or a controller: no session here. From its guards on; global guards run before. */
export const SkipSession = () => forRoute('skip');

/** For a handler or a controller: its own locking mode. From its guards on; global guards run before. */
export const SessionLocking = (mode: SessionLockingMode) => forRoute(mode);

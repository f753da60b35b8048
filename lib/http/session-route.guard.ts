import {
  applyDecorators,
  Injectable,
  SetMetadata,
  type CanActivate,
  type ExecutionContext,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { SessionLockingMode } from '../options/session-options.js';
import { GUARDS_METADATA, requestOf } from './nest-internals.js';
import { findContext } from './find-context.js';

const ROUTE = 'nest-sessions:route';
type RouteSetting = SessionLockingMode | 'skip';

/** Applies `@SkipSession()` and `@SessionLocking()`, which bring it along. Lets every request pass. */
@Injectable()
export class SessionRouteGuard implements CanActivate {
  constructor(private readonly reflector: Reflector) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const session = findContext(requestOf(context));
    // A handler's own setting wins over its controller's.
    const setting = this.reflector.getAllAndOverride<RouteSetting>(ROUTE, [
      context.getHandler(),
      context.getClass(),
    ]);
    if (setting === 'skip') {
      session?.skip();
    } else {
      await session?.setLocking(setting);
    }
    return true;
  }
}

const forRoute = (setting: RouteSetting) => applyDecorators(SetMetadata(ROUTE, setting), useRouteGuardFirst);

/** As `UseGuards()`, but ahead of the guards beside it, whichever decorator is written first. */
function useRouteGuardFirst(target: object, _name?: string | symbol, descriptor?: PropertyDescriptor): void {
  const decorated: object = descriptor?.value ?? target;
  const guards: unknown[] = Reflect.getMetadata(GUARDS_METADATA, decorated) ?? [];
  Reflect.defineMetadata(GUARDS_METADATA, [SessionRouteGuard, ...guards], decorated);
}

/** For a handler or a controller: no session here. From its guards on; global guards run before. */
export const SkipSession = () => forRoute('skip');

/** For a handler or a controller: its own locking mode. From its guards on; global guards run before. */
export const SessionLocking = (mode: SessionLockingMode) => forRoute(mode);

import {
  Injectable,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
  type Type,
} from '@nestjs/common';
import { ModuleRef, type ApplicationConfig } from '@nestjs/core';
import type { ServerResponse } from 'node:http';
import { concatMap, finalize, takeLast, type Observable } from 'rxjs';
import { findHttpContext, requestOf } from './http-session.context.js';

/** Nest's own names of the metadata; it exports them for internal use only. */
const INTERCEPTORS_METADATA = '__interceptors__';
const SSE_METADATA = '__sse__';

/**
 * Stores the session once the handler is done, before the value is sent, so that a failure reaches the
 * exception filters. `@Session()` adds it to its handler; add it with `@UseInterceptors()` where the session
 * is only injected.
 *
 * What it leaves alone is committed by the hook on the response, which knows the final status: event
 * streams, handlers that answer themselves, errors, and handlers inside other interceptors, which may still
 * turn the answer into a failure.
 */
@Injectable()
export class SessionInterceptor implements NestInterceptor {
  constructor(private readonly moduleRef: ModuleRef) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const session = context.getType() === 'http' ? findHttpContext(requestOf(context)) : undefined;
    if (!session || Reflect.hasMetadata(SSE_METADATA, context.getHandler())) {
      return next.handle();
    }
    const isOutermost = !this.isInsideOthers(context.getClass());
    return next.handle().pipe(
      takeLast(1),
      concatMap(async value => {
        // A handler with @Res() returns nothing, and may have yet to say which status it answers with.
        if ((isOutermost && value !== undefined) || session.isClosed) {
          await session.commit(context.switchToHttp().getResponse<ServerResponse>().statusCode);
        }
        return value;
      }),
      finalize(() => session.abandonIfClosed()),
    );
  }

  /** Global interceptors and those of the controller run around those of a handler. */
  private isInsideOthers(controller: Type): boolean {
    // The one way to the global ones; `applicationConfig` is the container's public getter.
    const { container } = this.moduleRef as unknown as {
      container?: { applicationConfig?: ApplicationConfig };
    };
    const config = container?.applicationConfig;
    return (
      Reflect.hasMetadata(INTERCEPTORS_METADATA, controller) ||
      (config !== undefined &&
        config.getGlobalInterceptors().length + config.getGlobalRequestInterceptors().length > 0)
    );
  }
}

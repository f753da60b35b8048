import { Injectable, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import type { ServerResponse } from 'node:http';
import { concatMap, takeLast, type Observable } from 'rxjs';
import { requestOf, SSE_METADATA } from './nest-internals.js';
import { findContext } from './find-context.js';

/**
 * Stores the session once the handler is done, inside the interceptors around it, for those who want to handle a
 * failure there. Without it, the session is stored when all interceptors are done. Add it with `@UseInterceptors()`.
 *
 * What the handler's answer is not known for yet is left to the response: event streams, and handlers that answer
 * themselves.
 */
@Injectable()
export class SessionInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const session = context.getType() === 'http' ? findContext(requestOf(context)) : undefined;
    if (!session || Reflect.hasMetadata(SSE_METADATA, context.getHandler())) {
      return next.handle();
    }
    return next.handle().pipe(
      takeLast(1),
      concatMap(async value => {
        // A handler with @Res() returns nothing, and may have yet to say which status it answers with.
        if (value !== undefined) {
          await session.commit(context.switchToHttp().getResponse<ServerResponse>().statusCode);
        }
        return value;
      }),
    );
  }
}

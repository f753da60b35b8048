import {
  BadRequestException,
  Catch,
  Controller,
  Get,
  Header,
  HttpCode,
  HttpException,
  Injectable,
  Param,
  Redirect,
  ServiceUnavailableException,
  Sse,
  StreamableFile,
  UseFilters,
  UseGuards,
  UseInterceptors,
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type NestInterceptor,
  type NestMiddleware,
  type PipeTransform,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { EventEmitter, once } from 'node:events';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { concatMap, from, map, of, delay, type Observable } from 'rxjs';
import { Session, SessionInterceptor, SessionStore } from 'nest-sessions';

/** Tells a test that a slow handler is at work, and the handler that its client has hung up. */
export const hangUps = {
  emitter: new EventEmitter(),
  once: (path: string) => once(hangUps.emitter, path),
  gone: (path: string) => void hangUps.emitter.emit(`${path} gone`),
  async wait(path: string) {
    const gone = once(hangUps.emitter, `${path} gone`);
    hangUps.emitter.emit(path);
    await gone;
    await sleep(30); // the server has seen it, too
  },
};

/** What every handler here leaves in the session. */
export const CHANGED = 'changed';

@Injectable()
class MarkingGuard implements CanActivate {
  constructor(private readonly sessions: SessionStore) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    (await this.sessions.current()).set('mark', CHANGED);
    const { name } = context.switchToHttp().getRequest().params;
    if (name === 'throws') {
      throw new ServiceUnavailableException();
    }
    return name === 'passes';
  }
}

const failingPipe: PipeTransform = {
  transform() {
    throw new BadRequestException();
  },
};

const failingBefore: NestInterceptor = {
  intercept() {
    throw new BadRequestException();
  },
};

/** Lets the handler work, and fails then. */
const failingAfter = (status: number): NestInterceptor => ({
  intercept: (_context: ExecutionContext, next: CallHandler) =>
    next.handle().pipe(
      map(() => {
        throw new HttpException('after', status);
      }),
    ),
});

@Catch()
class AnsweringFilter implements ExceptionFilter {
  constructor(private readonly host: HttpAdapterHost) {}

  catch(error: Error, host: ArgumentsHost) {
    const status = Number(error.message);
    this.host.httpAdapter.reply(host.switchToHttp().getResponse(), { handled: true }, status);
  }
}

@Injectable()
export class MarkingMiddleware implements NestMiddleware {
  constructor(private readonly sessions: SessionStore) {}

  async use(req: { url?: string; originalUrl?: string }, _res: unknown, next: (error?: unknown) => void) {
    const url = new URL(req.originalUrl ?? req.url ?? '', 'http://localhost');
    if (url.searchParams.has('middleware')) {
      (await this.sessions.current()).set('mark', CHANGED);
    }
    if (url.searchParams.get('middleware') === 'throws') {
      next(new BadRequestException());
    } else {
      next();
    }
  }
}

@Controller()
export class CommonController {
  @Get('begin')
  begin(@Session() session: Session) {
    session.set('mark', 'before');
    return {};
  }

  @Get('value')
  value(@Session() session: Session) {
    session.set('mark', CHANGED);
    return { ok: true };
  }

  @Get('nothing')
  nothing(@Session() session: Session) {
    session.set('mark', CHANGED);
  }

  @Get('promise')
  async promise(@Session() session: Session) {
    await sleep(2);
    session.set('mark', CHANGED);
    return { ok: true };
  }

  @Get('observable')
  observable(@Session() session: Session): Observable<unknown> {
    return of(1, 2, 3).pipe(
      delay(2),
      map(n => {
        session.set('mark', CHANGED);
        return { n };
      }),
    );
  }

  @Get('streamable')
  streamable(@Session() session: Session) {
    session.set('mark', CHANGED);
    return new StreamableFile(Readable.from([Buffer.from('one'), Buffer.from('two')]));
  }

  @Get('iterable')
  async *iterable(@Session() session: Session) {
    session.set('mark', CHANGED);
    yield 'one';
    await sleep(5);
    yield 'two';
  }

  @Get('late')
  async *late(@Session() session: Session) {
    yield 'one';
    await sleep(20);
    session.set('mark', CHANGED);
    yield 'two';
  }

  @Get('late-reference')
  async *lateReference(@Session() session: Session) {
    const { data } = session;
    yield 'one';
    await sleep(20);
    data.mark = CHANGED;
    yield 'two';
  }

  @Get('web-response')
  webResponse(@Session() session: Session) {
    session.set('mark', CHANGED);
    return new Response('hello', { headers: { 'x-own': '1' } });
  }

  @Sse('sse')
  sse(@Session() session: Session): Observable<{ data: string }> {
    session.set('mark', CHANGED);
    return from(['one', 'two']).pipe(concatMap(data => of({ data }).pipe(delay(5))));
  }

  @Get('endless')
  async *endless(@Session() session: Session) {
    session.set('mark', CHANGED);
    for (;;) {
      yield 'more';
      await sleep(5);
    }
  }

  @Get('slow')
  async slow(@Session() session: Session) {
    await hangUps.wait('/slow');
    session.set('mark', CHANGED);
    return {};
  }

  @Get('slow-observable')
  slowObservable(@Session() session: Session) {
    return from(hangUps.wait('/slow-observable')).pipe(map(() => session.set('mark', CHANGED)));
  }

  @Get('redirect')
  @Redirect('/value', 302)
  redirect(@Session() session: Session) {
    session.set('mark', CHANGED);
  }

  @Get('no-content')
  @HttpCode(204)
  noContent(@Session() session: Session) {
    session.set('mark', CHANGED);
  }

  @Get('not-modified')
  @HttpCode(304)
  notModified(@Session() session: Session) {
    session.set('mark', CHANGED);
  }

  @Get('own-headers')
  @Header('Vary', 'Accept')
  @Header('Cache-Control', 'no-store')
  ownHeaders(@Session() session: Session) {
    session.set('mark', CHANGED);
    return { ok: true };
  }

  @Get('bad-request')
  badRequest(@Session() session: Session) {
    session.set('mark', CHANGED);
    throw new BadRequestException();
  }

  @Get('unavailable')
  unavailable(@Session() session: Session) {
    session.set('mark', CHANGED);
    throw new ServiceUnavailableException();
  }

  @Get('unexpected')
  unexpected(@Session() session: Session) {
    session.set('mark', CHANGED);
    throw new Error('unexpected');
  }

  @Get('saved-then-unexpected')
  async savedThenUnexpected(@Session() session: Session) {
    session.set('mark', CHANGED);
    await session.save();
    session.set('mark', 'dropped');
    throw new Error('unexpected');
  }

  @Get('guard/:name')
  @UseGuards(MarkingGuard)
  guard() {
    return { ok: true };
  }

  @Get('pipe/:name')
  @UseGuards(MarkingGuard)
  pipe(@Param('name', failingPipe) _name: string) {
    return { ok: true };
  }

  @Get('interceptor/before/:name')
  @UseGuards(MarkingGuard)
  @UseInterceptors(failingBefore)
  interceptorBefore(@Session() session: Session) {
    session.set('mark', CHANGED);
  }

  @Get('interceptor/after/400')
  @UseInterceptors(failingAfter(400))
  interceptorAfter400(@Session() session: Session) {
    session.set('mark', CHANGED);
    return {};
  }

  @Get('interceptor/after/500')
  @UseInterceptors(failingAfter(500))
  interceptorAfter500(@Session() session: Session) {
    session.set('mark', CHANGED);
    return {};
  }

  @Get('filter/418')
  @UseFilters(AnsweringFilter)
  filter418(@Session() session: Session) {
    session.set('mark', CHANGED);
    throw new Error('418');
  }

  @Get('filter/200')
  @UseFilters(AnsweringFilter)
  filter200(@Session() session: Session) {
    session.set('mark', CHANGED);
    throw new Error('200');
  }

  @Get('filter/502')
  @UseFilters(AnsweringFilter)
  filter502(@Session() session: Session) {
    session.set('mark', CHANGED);
    throw new Error('502');
  }
}

/** Around every handler here stands another interceptor. */
@Controller('inside')
@UseInterceptors(failingAfter(500))
export class InsideFailingInterceptorController {
  @Get('after/500')
  handler(@Session() session: Session) {
    session.set('mark', CHANGED);
    return {};
  }
}

/** The session is not the handler's parameter. */
@Controller('injected')
export class InjectedController {
  constructor(private readonly session: Session) {}

  @Get('value')
  value() {
    this.session.set('mark', CHANGED);
    return { ok: true };
  }

  @Get('slow')
  async slow() {
    await hangUps.wait('/injected/slow');
    this.session.set('mark', CHANGED);
    return {};
  }

  @Get('intercepted')
  @UseInterceptors(SessionInterceptor)
  intercepted() {
    this.session.set('mark', CHANGED);
    return { ok: true };
  }
}

import {
  Catch,
  Controller,
  Get,
  HttpException,
  Injectable,
  Param,
  Post,
  Req,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type NestInterceptor,
  type PipeTransform,
} from '@nestjs/common';
import { Session, SessionStore } from 'nest-sessions';
import { Gate } from '../support/scripts.js';
import { SharedConnection } from '../support/shared-connection.js';

/** What requests share, of the test that runs. */
export const shared = {} as {
  connection: SharedConnection;
  /** Opened once a request has opened the connection. */
  opened: Gate;
  /** Ends that request. */
  gate: Gate;
};

export async function renewShared(): Promise<void> {
  Object.assign(shared, { connection: new SharedConnection(), opened: new Gate(), gate: new Gate() });
  await shared.connection.listen();
}

const userNow = (store: SessionStore): Promise<unknown> =>
  store.current().then(
    session => session.get('user'),
    (error: Error) => error.name,
  );

@Injectable()
class UserGuard implements CanActivate {
  constructor(private readonly store: SessionStore) {}

  async canActivate(context: ExecutionContext) {
    context.switchToHttp().getRequest().seenByGuard = await userNow(this.store);
    return true;
  }
}

@Injectable()
class UserInterceptor implements NestInterceptor {
  constructor(private readonly store: SessionStore) {}

  async intercept(context: ExecutionContext, next: CallHandler) {
    context.switchToHttp().getRequest().seenByInterceptor = await userNow(this.store);
    return next.handle();
  }
}

@Injectable()
class UserPipe implements PipeTransform {
  constructor(private readonly store: SessionStore) {}

  transform() {
    return userNow(this.store);
  }
}

@Injectable({ scope: Scope.REQUEST })
export class ScopedService {
  readonly seen: Promise<unknown>;

  constructor(
    store: SessionStore,
    readonly session: Session,
  ) {
    this.seen = userNow(store); // already here, which is before guards
  }
}

/** Tells who it answers: for unknown paths, for what middleware throws, for what handlers throw. */
@Catch(HttpException)
export class UserFilter implements ExceptionFilter {
  constructor(private readonly store: SessionStore) {}

  async catch(error: HttpException, host: ArgumentsHost) {
    const response = host.switchToHttp().getResponse();
    const body = { filter: await userNow(this.store) };
    response.status(error.getStatus());
    response.send(body);
  }
}

@Controller()
export class UsersController {
  constructor(private readonly store: SessionStore) {}

  /** Its context is the connection's from now on. It does not answer before the test says so. */
  @Get('open')
  async open(@Session({ readOnly: true }) session: Session) {
    await shared.connection.open();
    shared.opened.open();
    await shared.gate.opened;
    return { user: session.get('user') };
  }

  @Get('users/:x')
  @UseGuards(UserGuard)
  @UseInterceptors(UserInterceptor)
  async who(@Param('x', UserPipe) pipe: unknown, @Req() { seenByGuard, seenByInterceptor }: any) {
    return { pipe, guard: seenByGuard, interceptor: seenByInterceptor, handler: await userNow(this.store) };
  }

  @Post('users')
  async upload() {
    return { handler: await userNow(this.store) };
  }

  @Get('excluded')
  async excluded() {
    return { handler: await userNow(this.store) };
  }

  @Get('thrown')
  @UseFilters(UserFilter)
  thrown() {
    throw new HttpException('', 418);
  }
}

@Controller('scoped')
export class ScopedController {
  constructor(private readonly scoped: ScopedService) {}

  @Get()
  async who() {
    return { constructor: await this.scoped.seen, injected: this.scoped.session.get('user') };
  }
}

import {
  Controller,
  Get,
  Injectable,
  ParseIntPipe,
  Post,
  Scope,
  UseGuards,
  UseInterceptors,
  type CanActivate,
  type ExecutionContext,
} from '@nestjs/common';
import { expect } from 'vitest';
import { Session, SessionInterceptor, SessionLocking, SessionStore, SkipSession } from 'nest-sessions';

/** What the guards of a request saw: whether its session was locked before they ran. */
export const lockedInGuard: boolean[] = [];

@Injectable()
class LockedGuard implements CanActivate {
  constructor(private readonly store: SessionStore) {}

  async canActivate() {
    lockedInGuard.push((await this.store.current({ readOnly: true })).locked);
    return true;
  }
}

@Injectable()
class KeepingGuard implements CanActivate {
  constructor(private readonly store: SessionStore) {}

  async canActivate(context: ExecutionContext) {
    context.switchToHttp().getRequest().seen = await this.store.current();
    return true;
  }
}

@Injectable({ scope: Scope.REQUEST })
export class AuditService {
  constructor(readonly session: Session) {}
}

@Controller('audit')
@UseInterceptors(SessionInterceptor)
class AuditController {
  constructor(
    private readonly audit: AuditService,
    private readonly session: Session,
  ) {}

  @Get()
  write() {
    this.audit.session.set('audited', true);
    return { same: this.session === this.audit.session };
  }
}

@Controller()
class RoutesController {
  constructor(private readonly store: SessionStore) {}

  @Get('value')
  value(@Session('visits') visits: number | undefined, @Session('visits', ParseIntPipe) parsed: number) {
    return { visits, parsed };
  }

  @UseGuards(KeepingGuard)
  @Get('same')
  async same(@Session() session: Session, @Session() twice: Session) {
    const current = await this.store.current();
    return { same: session === twice && session === current };
  }

  @Get('upgrade')
  async upgrade(@Session({ readOnly: true }) session: Session) {
    const before = session.locked;
    const writable = await this.store.current();
    writable.set('count', writable.get('count', 0) + 1);
    return { before, after: writable.locked, frozen: session.get('count', 0), now: writable.get('count') };
  }

  @SessionLocking('early')
  @UseGuards(LockedGuard)
  @Get('early-above')
  earlyAbove() {
    return {};
  }

  @UseGuards(LockedGuard)
  @SessionLocking('early')
  @Get('early-below')
  earlyBelow() {
    return {};
  }

  @UseGuards(LockedGuard)
  @Get('late')
  late() {
    return {};
  }

  @Post('health')
  postHealth(@Session() session: Session) {
    return { isNew: session.isNew };
  }

  @Get(['health', 'assets/a/b'])
  health(@Session() session: Session) {
    return { isNew: session.isNew };
  }
}

@SessionLocking('explicit')
@Controller('by-controller')
class ExplicitController {
  @Get('own')
  own(@Session() session: Session) {
    return { locked: session.locked };
  }

  @SessionLocking('implicit')
  @Get('overridden')
  overridden(@Session() session: Session) {
    return { locked: session.locked };
  }
}

@SkipSession()
@Controller('skipped')
class SkippedController {
  constructor(private readonly store: SessionStore) {}

  @Get()
  async read() {
    await expect(this.store.current()).rejects.toThrow('This route has @SkipSession()');
    return {};
  }

  @Get('own')
  async update() {
    const id = await this.store.create({ a: 1 });
    return { value: await this.store.update(id, session => session.get('a')) };
  }
}

export const CONTROLLERS = [RoutesController, AuditController, ExplicitController, SkippedController];

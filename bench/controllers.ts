import { Controller, Get, Query, Session as RequestSession, type Type } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Session } from 'nest-sessions';
import { answerOf, makeCart, makeUser, type Answer, type ShopSession } from './data.js';

const FIXED: ShopSession = { user: makeUser(), cart: makeCart(10) };

/** Nest alone: the same routes and answers, without any session. */
@Controller()
export class FloorController {
  @Get('untouched')
  untouched(): Answer {
    return answerOf(FIXED);
  }

  @Get('read')
  read(): Answer {
    return answerOf(FIXED);
  }

  @Get('write')
  write(): Answer {
    return answerOf(FIXED);
  }

  @Get('new')
  begin(): Answer {
    return answerOf(FIXED);
  }
}

/** What express-session and @fastify/session have in common. */
interface PeerSession extends ShopSession {
  destroy(done: (error?: unknown) => void): void;
}

/** Milliseconds that a handler works between reading and writing: CherryPy's test. */
const WORK = 10;
/** Of one that is so slow that its session ends meanwhile. */
const SLOW_WORK = 100;

/** `req.session`, as express-session and @fastify/session give it. */
@Controller()
export class PeerController {
  @Get('untouched')
  untouched(): Answer {
    return answerOf(FIXED);
  }

  @Get('seed')
  seed(@RequestSession() session: ShopSession, @Query('lines') lines: string): Answer {
    Object.assign(session, { user: makeUser(), cart: makeCart(Number(lines)), visits: 0 });
    return answerOf(session);
  }

  @Get('read')
  read(@RequestSession() session: ShopSession): Answer {
    return answerOf(session);
  }

  @Get('write')
  write(@RequestSession() session: ShopSession): Answer {
    session.visits = (session.visits ?? 0) + 1;
    return answerOf(session);
  }

  @Get('new')
  begin(@RequestSession() session: ShopSession): Answer {
    session.user = makeUser();
    return answerOf(session);
  }

  @Get('race')
  async race(@RequestSession() session: ShopSession): Promise<Answer> {
    const { visits = 0 } = session;
    await sleep(WORK);
    session.visits = visits + 1;
    return answerOf(session);
  }

  @Get('slow')
  async slow(@RequestSession() session: ShopSession): Promise<Answer> {
    const { visits = 0 } = session;
    await sleep(SLOW_WORK);
    session.visits = visits + 1;
    return answerOf(session);
  }

  @Get('logout')
  async logout(@RequestSession() session: PeerSession): Promise<object> {
    await new Promise<void>((resolve, reject) =>
      session.destroy(error => (error ? reject(error) : resolve())),
    );
    return {};
  }
}

/** This package, in whatever version. */
export function ownController({ Session, SessionLocking }: typeof import('nest-sessions')): Type {
  @Controller()
  class OwnController {
    @Get('untouched')
    untouched(): Answer {
      return answerOf(FIXED);
    }

    @Get('seed')
    seed(@Session() session: Session, @Query('lines') lines: string): Answer {
      session.update({ user: makeUser(), cart: makeCart(Number(lines)), visits: 0 });
      return answerOf(session.data);
    }

    @Get('read')
    read(@Session() session: Session): Answer {
      return answerOf(session.data);
    }

    @Get('read-only')
    readOnly(@Session({ readOnly: true }) session: Session): Answer {
      return answerOf(session.data);
    }

    @Get('write')
    write(@Session() session: Session): Answer {
      session.set('visits', session.get('visits', 0) + 1);
      return answerOf(session.data);
    }

    @Get('new')
    begin(@Session() session: Session): Answer {
      session.set('user', makeUser());
      return answerOf(session.data);
    }

    @Get('race')
    async race(@Session() session: Session): Promise<Answer> {
      const visits = session.get('visits', 0);
      await sleep(WORK);
      session.set('visits', visits + 1);
      return answerOf(session.data);
    }

    @Get('slow')
    async slow(@Session() session: Session): Promise<Answer> {
      const visits = session.get('visits', 0);
      await sleep(SLOW_WORK);
      session.set('visits', visits + 1);
      return answerOf(session.data);
    }

    @Get('logout')
    async logout(@Session() session: Session): Promise<object> {
      await session.destroy();
      return {};
    }

    /** That waits for nobody: an administrator's, or one behind "log out everywhere". */
    @SessionLocking('explicit')
    @Get('logout-now')
    async logoutNow(@Session() session: Session): Promise<object> {
      await session.destroy();
      return {};
    }
  }

  return OwnController;
}

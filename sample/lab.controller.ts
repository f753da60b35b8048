import { Controller, Get, HttpCode, Post } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import { Session, SessionLocking } from 'nest-sessions';
import { Page, renderPage } from './page.js';
import { raceView } from './views/race.view.js';

/** A race of parallel requests: each reads the count, works a while and stores one more. */
@Controller('lab')
export class LabController {
  @Page()
  show(@Session() session: Session): string {
    return renderPage(session, { title: 'The lab', tab: 'lab', body: raceView() });
  }

  /** Also makes sure that there is a stored session: else each request would start its own. */
  @Post('race/reset')
  @HttpCode(204)
  reset(@Session() session: Session): void {
    session.set('raceCount', 0);
  }

  /** Each request waits for its turn. */
  @Post('race/locked')
  @HttpCode(204)
  async countLocked(@Session() session: Session): Promise<void> {
    await countOneMore(session);
  }

  /** Nobody waits, and nobody calls `session.acquireLock()`: increments get lost. */
  @Post('race/unlocked')
  @HttpCode(204)
  @SessionLocking('explicit')
  async countUnlocked(@Session() session: Session): Promise<void> {
    await countOneMore(session);
  }

  @Get('race/count')
  count(@Session({ readOnly: true }) session: Session) {
    return { count: session.get('raceCount', 0) };
  }
}

async function countOneMore(session: Session): Promise<void> {
  const count = session.get('raceCount', 0);
  await sleep(10); // what a call of a database takes
  session.set('raceCount', count + 1);
}

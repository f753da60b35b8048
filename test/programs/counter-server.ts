import { Controller, Get, Param } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import { Session, type SessionModuleOptions } from 'nest-sessions';
import { serve } from './serve.js';
import { becomeUnprivileged } from './unprivileged.js';

/**
 * A server that counts in the session. Environment:
 * - ADAPTER: express (default) or fastify
 * - STORAGE_PATH: keeps sessions in files there; unset: in RAM
 * - SESSION_OPTIONS: more session options, as JSON
 * - WORK_MS: what a handler takes between reading and writing; unset: 0 to 20 ms, random
 * - UNPRIVILEGED: set, it gives up root's rights once it listens
 *
 * Prints `listening <port>`, and `working` as a handler's work begins. SIGTERM closes the application: it prints `closed` and ends when nothing keeps it.
 */
const { STORAGE_PATH, SESSION_OPTIONS = '{}', WORK_MS, UNPRIVILEGED } = process.env;
const options: SessionModuleOptions = {
  ...(STORAGE_PATH ? { storageType: 'file', storagePath: STORAGE_PATH } : {}),
  ...JSON.parse(SESSION_OPTIONS),
};

const work = () => {
  console.log('working');
  return sleep(WORK_MS === undefined ? Math.random() * 20 : Number(WORK_MS));
};

@Controller()
class CounterController {
  @Get('count')
  async count(@Session() session: Session) {
    const count = session.get('count', 0);
    await work();
    session.set('count', count + 1);
    return { count: count + 1 };
  }

  @Get('read')
  read(@Session({ readOnly: true }) session: Session) {
    return { count: session.get('count', 0), isNew: session.isNew };
  }

  @Get('data')
  data(@Session({ readOnly: true }) session: Session) {
    return session.toJSON();
  }

  @Get('set/:key')
  async set(@Session() session: Session, @Param('key') key: string) {
    await work();
    session.set(key, 'kept');
    return { key };
  }

  @Get('destroy')
  async destroy(@Session() session: Session) {
    await session.destroy();
    return { destroyed: true };
  }

  @Get('plain')
  plain() {
    return { plain: true };
  }
}

const port = await serve(CounterController, options);
if (UNPRIVILEGED) {
  becomeUnprivileged();
}
console.log(`listening ${port}`);

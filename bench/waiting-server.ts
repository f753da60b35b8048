import { Controller, Get, Inject } from '@nestjs/common';
import { Session, SESSION_BACKEND, type SessionBackend } from 'nest-sessions';
import { serve } from '../test/programs/serve.js';

/** The server of waiting.ts. Its argument: the session options, as JSON. Sends its port to its parent. */
let tries = 0;

@Controller()
class WaitingController {
  constructor(@Inject(SESSION_BACKEND) backend: SessionBackend) {
    const lock = backend.lock.bind(backend);
    backend.lock = (key, lease) => {
      tries++;
      return lock(key, lease);
    };
  }

  @Get('write')
  write(@Session() session: Session) {
    session.set('count', session.get('count', 0) + 1);
    return {};
  }

  @Get('plain')
  plain() {
    return {};
  }

  /** How often it has asked for a lock. */
  @Get('tries')
  tries() {
    return { tries };
  }
}

process.send!(await serve(WaitingController, JSON.parse(process.argv[2]!)));

import { Controller, Get, Query } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Session, SessionStore } from 'nest-sessions';
import { serve } from './serve.js';

/**
 * A server that says how much of its heap is in use once all that can be collected is. Environment:
 * - ADAPTER: express (default) or fastify
 * - SESSION_OPTIONS: the session options, as JSON
 */
setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

const LAYERS = 10;

const { SESSION_OPTIONS = '{}' } = process.env;

@Controller()
class HeapController {
  constructor(private readonly store: SessionStore) {}

  /** One request that changes its session: a new one, or the cookie's. */
  @Get('visit')
  visit(@Session() session: Session, @Query('bytes') bytes = '0') {
    session.set('count', session.get('count', 0) + 1);
    session.set('text', 'x'.repeat(Number(bytes)));
  }

  @Get('log-out')
  logOut(@Session() session: Session) {
    return session.destroy();
  }

  @Get('destroy')
  async destroy(@Query('id') id: string) {
    await this.store.destroy(id);
  }

  @Get('new-id')
  newId(@Session() session: Session) {
    return session.regenerate();
  }

  /** Bytes. */
  @Get('heap')
  async heap() {
    // What is let go of by weak references goes layer by layer, with turns of the event loop in between.
    for (let layer = 0; layer < LAYERS; layer++) {
      collect();
      await sleep(10);
    }
    const { heapUsed, external } = process.memoryUsage();
    return { bytes: heapUsed + external };
  }
}

console.log(`listening ${await serve(HeapController, JSON.parse(SESSION_OPTIONS))}`);

import { Body, Controller, type OnApplicationBootstrap } from '@nestjs/common';
import { HttpAdapterHost, ModuleRef } from '@nestjs/core';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { SessionRuntime } from '../../lib/session/session-runtime.js';
import { Call, ChaosController, generateId } from './chaos.controller.js';
import { serve } from './serve.js';
import { shiftClock } from './shifted-date.js';

/**
 * A server for npm run chaos. It does to sessions, and to itself, what clients ask for. Environment:
 * - ADAPTER: express (default) or fastify
 * - SESSION_OPTIONS: the session options, as JSON
 * - PORT: unset: a free one
 *
 * Prints `listening <port>`. What nobody catches ends it.
 */
setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

@Controller()
class TroubleController implements OnApplicationBootstrap {
  constructor(
    private readonly modules: ModuleRef,
    private readonly host: HttpAdapterHost,
  ) {}

  onApplicationBootstrap(): void {
    // After a stop, it would close connections on which a request has just been sent.
    this.host.httpAdapter.getHttpServer().keepAliveTimeout = 0;
  }

  @Call('clock')
  clock(@Body() { ms }: { ms: number }) {
    shiftClock(ms);
    return {};
  }

  @Call('block')
  block(@Body() { ms }: { ms: number }) {
    for (const end = performance.now() + ms; performance.now() < end;);
    return {};
  }

  /** What may grow, and should not. */
  @Call('state')
  state() {
    collect();
    collect();
    const { heapUsed, external } = process.memoryUsage();
    return {
      heapBytes: heapUsed + external,
      handles: process.getActiveResourcesInfo().length,
      locks: this.modules.get(SessionRuntime, { strict: false }).locks.size,
    };
  }
}

const { SESSION_OPTIONS = '{}', PORT = '0' } = process.env;
const options = { ...JSON.parse(SESSION_OPTIONS), generateId };
console.log(`listening ${await serve([ChaosController, TroubleController], options, Number(PORT))}`);

import { Controller, Get, Session as NestSession } from '@nestjs/common';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ExpressSession } from 'nest-sessions';
import { ADAPTERS, startApp, type TestApp } from '../support/app.js';
import { ScriptController } from '../support/scripts.js';
import { DIFFERENT } from './express-session-differences.js';
import type { Start } from './express-session-helpers.js';
import { SAME } from './express-session-topics.js';

const PAGE = new URL('../../docs/from-express-session.md', import.meta.url);
const ROW = /^\| (.+) \| (same|different|not applicable) \|/;

/** The rows of the page's table: a topic, or so many of them, and how it is here. */
const rows = readFileSync(PAGE, 'utf8')
  .split('\n')
  .flatMap(line => {
    const [, topic, here] = ROW.exec(line) ?? [];
    return topic ? [{ topic, here, count: Number(/\((\d+)\)$/.exec(topic)?.[1] ?? 1) }] : [];
  });

@Controller()
class HitController {
  @Get('hit')
  hit(@NestSession() session: ExpressSession) {
    session.hit = true;
  }
}

describe.each(ADAPTERS)('what express-session’s tests name, through req.session: %s', adapter => {
  const servers: TestApp[] = [];
  const start: Start = async (sessions = {}, more = {}) => {
    const server = await startApp({
      adapter,
      sessions,
      controllers: [ScriptController, HitController],
      ...more,
    });
    servers.push(server);
    return server;
  };
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'], now: Date.now() }));
  afterEach(async () => {
    vi.useRealTimers();
    await Promise.all(servers.splice(0).map(server => server.close()));
  });

  it.each(Object.entries(SAME))('same: %s', (_topic, prove) => prove(start));
  it.each(Object.entries(DIFFERENT))('different: %s', (_topic, prove) => prove(start));
});

describe('the table of express-session’s topics', () => {
  it('has all 142 of them', () => {
    expect(rows.reduce((sum, { count }) => sum + count, 0)).toBe(142);
  });

  it('calls same what is tested here, and nothing else', () => {
    const same = rows.filter(({ here }) => here === 'same').map(({ topic }) => topic);
    expect(same).toEqual(Object.keys(SAME));
    const different = rows.filter(({ here }) => here === 'different').map(({ topic }) => topic);
    expect(different).toEqual(expect.arrayContaining(Object.keys(DIFFERENT)));
  });
});

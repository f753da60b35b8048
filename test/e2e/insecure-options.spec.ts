import { afterEach, describe, expect, it } from 'vitest';
import type { SessionModuleOptions } from 'nest-sessions';
import { ADAPTERS, startApp, type TestApp } from '../support/app.js';
import { RecordingLogger } from '../support/recording-logger.js';
import { Browser, ScriptController } from '../support/scripts.js';

let server: TestApp;
afterEach(() => server.close());

describe.each(ADAPTERS)('options that browsers punish, with secure: auto: %s', adapter => {
  const warnings = async (sessions: SessionModuleOptions, isSecure: boolean) => {
    const logger = new RecordingLogger();
    server = await startApp({
      adapter,
      sessions,
      trustProxy: true,
      controllers: [ScriptController],
      prepare: app => app.useLogger(logger),
    });
    const headers = { 'x-forwarded-proto': isSecure ? 'https' : 'http' };
    for (let times = 0; times < 3; times++) {
      const answer = await new Browser(server.url).run(session => void session.set('a', 1), 'run', {
        headers,
      });
      expect([answer.status, answer.setCookies[0]!.includes('Secure')]).toEqual([200, isSecure]);
    }
    return logger.aboveDebug.filter(line => line.includes('Secure'));
  };

  it.each<[SessionModuleOptions, RegExp]>([
    [{ sameSite: 'none' }, /over HTTP.*sameSite: 'none'.*HTTPS/],
    [{ partitioned: true }, /over HTTP.*partitioned: true.*HTTPS/],
    [{ sameSite: 'none', partitioned: true, path: '/run' }, /over HTTP.*sameSite: 'none'.*HTTPS/],
  ])('a cookie that goes out over HTTP is warned of once, with the reason: %o', async (options, text) => {
    expect(await warnings(options, false)).toEqual([expect.stringMatching(text)]);
  });

  it.each<[SessionModuleOptions, boolean]>([
    [{ sameSite: 'none' }, true],
    [{ partitioned: true }, true],
    [{ sameSite: 'strict' }, false],
    [{}, false],
  ])('and no other: %o, over HTTPS %s', async (options, isSecure) => {
    expect(await warnings(options, isSecure)).toEqual([]);
  });
});

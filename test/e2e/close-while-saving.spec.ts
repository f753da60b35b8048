import { describe, expect, it, vi } from 'vitest';
import { SESSION_BACKEND, type SessionBackend } from 'nest-sessions';
import { ADAPTERS, startApp } from '../support/app.js';
import { Browser, Gate, ScriptController } from '../support/scripts.js';

describe.each(ADAPTERS)('an application that closes while an answer waits for its save: %s', adapter => {
  it.each(['run', 'express-raw'] as const)('sends the answer: %s', async route => {
    const server = await startApp({ adapter, controllers: [ScriptController] });
    const backend = server.app.get<SessionBackend>(SESSION_BACKEND);
    const gate = new Gate();
    const create = backend.create.bind(backend);
    const held = vi.spyOn(backend, 'create').mockImplementation(async (...args) => {
      await gate.opened;
      return create(...args);
    });
    const browser = new Browser(server.url);
    const answer =
      route === 'run'
        ? browser.run(session => (session.set('a', 1), 'stored'))
        : browser.runExpress((session, _req, res) => {
            session.a = 1;
            res.end('stored');
          }, route);
    await expect.poll(() => held.mock.calls.length).toBe(1);
    const closing = server.app.close();
    await new Promise(resolve => setTimeout(resolve, 50));
    gate.open();
    try {
      expect((await answer).body).toContain('stored');
    } finally {
      browser.close(); // Fastify waits for connections that are kept alive
      await closing;
    }
  });
});

import { Controller, Get } from '@nestjs/common';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Session, SessionStore, type SessionModuleOptions } from 'nest-sessions';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';
import { SessionRuntime } from '../../lib/session/session-runtime.js';
import { FileBackend } from '../../lib/storage/file/file.backend.js';
import { RamBackend } from '../../lib/storage/ram/ram.backend.js';
import { ADAPTERS, startApp } from '../support/app.js';
import { Client, sendRaw } from '../support/client.js';
import { startServer } from '../support/programs.js';
import { newStorage, SHARED_STORAGES } from '../support/storages.js';
import { until } from '../support/until.js';

const SESSIONS = 8;
const CLIENTS_PER_SESSION = 3;
const CLEAN_EXIT = { code: 0, signal: null };

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Once the server is gone. */
async function storedCount(id: string): Promise<number> {
  const options = resolveSessionOptions({});
  const manager = new SessionRuntime(options, { backend: new FileBackend(folder) });
  return (await new SessionStore(manager, { readIds: () => [], bind: () => '' }).get(id))?.data.count;
}

async function newSession(url: string): Promise<string> {
  const client = new Client(url);
  expect((await client.get('/count')).json()).toEqual({ count: 1 });
  client.close();
  return (await client.cookie())!;
}

interface Load {
  /** Answers that said success. */
  successes: number;
  /** What the request after them got: a status or an error code. */
  end: number | string;
}

/** Counts, each time on a new connection, until the server takes no more. */
async function countUntilRefused(url: string, id: string, onSuccess: () => void): Promise<Load> {
  const agent = new Agent({ keepAlive: false });
  const headers = { cookie: `session_id=${id}` };
  for (let successes = 0; ; successes++) {
    const end = await sendRaw(`${url}/count`, { agent, headers }).then(
      answer => answer.status,
      (error: NodeJS.ErrnoException) => error.code!,
    );
    if (end !== 200) {
      return { successes, end };
    }
    onSuccess();
  }
}

describe.each(ADAPTERS)('invariant 11, clean shutdown: file, %s', adapter => {
  const start = (env: Record<string, string> = {}) =>
    startServer('counter-server', { ADAPTER: adapter, STORAGE_PATH: folder, ...env });

  it('has in the store exactly what was answered with success, and lets the process end', async () => {
    const { program, url } = await start();
    const ids = await Promise.all(Array.from({ length: SESSIONS }, () => newSession(url)));
    let answers = 0;
    const loads = ids.map(id =>
      Promise.all(
        Array.from({ length: CLIENTS_PER_SESSION }, () => countUntilRefused(url, id, () => answers++)),
      ),
    );
    await until(() => answers >= 100);
    const exit = await program.kill('SIGTERM');

    const ended = await Promise.all(loads);
    const answered = ended.map(loads => loads.reduce((sum, { successes }) => sum + successes, 1));
    expect(await Promise.all(ids.map(storedCount))).toEqual(answered);
    // Fastify says 503 to what comes while it closes.
    expect(['ECONNREFUSED', 'ECONNRESET', 503]).toEqual(
      expect.arrayContaining(ended.flat().map(({ end }) => end)),
    );
    expect(program.lines).toContain('closed');
    expect(exit).toEqual(CLEAN_EXIT);
    expect(program.stderr).toBe('');
  });
});

describe.each(SHARED_STORAGES)('invariant 11, clean shutdown: %s', storage => {
  it('still stores what a handler does whose client hung up', async () => {
    const options = JSON.stringify(await newStorage(storage));
    const [{ program, url }, other] = await Promise.all([
      startServer('counter-server', { SESSION_OPTIONS: options, WORK_MS: '300' }),
      startServer('counter-server', { SESSION_OPTIONS: options }),
    ]);
    const id = await newSession(url);
    const headers = { cookie: `session_id=${id}` };
    const hangUp = new AbortController();
    const agent = new Agent({ keepAlive: false });
    const aborted = sendRaw(`${url}/count`, { agent, headers, signal: hangUp.signal });
    await until(() => program.count('working') === 2);
    hangUp.abort();
    await expect(aborted).rejects.toThrow();
    expect(await program.kill('SIGTERM')).toEqual(CLEAN_EXIT);
    expect(program.stderr).toBe('');
    expect((await sendRaw(`${other.url}/read`, { headers })).json()).toMatchObject({ count: 2 });
    await other.program.kill('SIGTERM');
  });
});

/** Real storage that tells when it is closed. */
class ClosingBackend extends RamBackend {
  static readonly closed: ClosingBackend[] = [];
  /** What was stored in it when it was closed. */
  countAtClose = -1;

  constructor() {
    super(1000);
  }

  override async close(): Promise<void> {
    this.countAtClose = await this.count();
    ClosingBackend.closed.push(this);
    await super.close();
  }
}

@Controller()
class SlowController {
  started = false;

  @Get('slow')
  async slow(@Session() session: Session) {
    this.started = true;
    await sleep(100);
    session.set('done', true);
    return 'done';
  }
}

describe('a storage of the application', () => {
  /** Closes while a request is at work. */
  async function closeUnderWork(sessions: SessionModuleOptions): Promise<void> {
    const { app, url, close } = await startApp({ sessions, controllers: [SlowController] });
    const answer = sendRaw(`${url}/slow`, { agent: new Agent({ keepAlive: false }) });
    await until(() => app.get(SlowController).started);
    await close();
    expect((await answer).status).toBe(200);
  }

  beforeEach(() => {
    ClosingBackend.closed.length = 0;
  });

  it('is closed once, after the last request, if it was given as a class', async () => {
    await closeUnderWork({ storageType: ClosingBackend });
    expect(ClosingBackend.closed.map(backend => backend.countAtClose)).toEqual([1]);
  });

  it('is not closed if it was given as an instance', async () => {
    const backend = new ClosingBackend();
    await closeUnderWork({ storageType: backend });
    expect(ClosingBackend.closed).toEqual([]);
    expect(await backend.count()).toBe(1);
  });
});

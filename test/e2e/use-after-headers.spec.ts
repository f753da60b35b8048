import { Controller, Get, Req, Res, Sse, StreamableFile } from '@nestjs/common';
import { Readable } from 'node:stream';
import { Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { Session, SessionStore } from 'nest-sessions';
import { SETUPS } from '../support/app.js';
import { Browser, lockCount, ScriptController, useServer } from '../support/scripts.js';

/** What the code after the headers came to: the user, or the error's name. */
let outcome: unknown;
/** What it does, once it has the session or not. */
let work: (store: SessionStore, req: any, held: Session) => Promise<unknown>;

/** The ways to send headers before the session is used for the first time. */
@Controller('late')
class LateController {
  private held: Session | undefined;

  constructor(private readonly store: SessionStore) {}

  @Get('write')
  async write(@Req() req: any, @Res() res: any) {
    const raw = this.raw(res);
    raw.write('begun ');
    await this.work(req);
    raw.end('done');
  }

  @Get('writeHead')
  async writeHead(@Req() req: any, @Res() res: any) {
    const raw = this.raw(res);
    raw.writeHead(200, { 'x-own': '1' });
    raw.write('begun ');
    await this.work(req);
    raw.end('done');
  }

  @Get('flushHeaders')
  async flushHeaders(@Req() req: any, @Res() res: any) {
    const raw = this.raw(res);
    raw.flushHeaders();
    await this.work(req);
    raw.write('begun ');
    raw.end('done');
  }

  @Get('used-before')
  async usedBefore(@Session() session: Session, @Req() req: any, @Res() res: any) {
    this.held = session;
    await this.write(req, res);
  }

  @Get('pipe')
  pipe(@Req() req: any, @Res() res: any) {
    Readable.from(this.chunks(req)).pipe(this.raw(res));
  }

  @Get('streamable')
  streamable(@Req() req: any): StreamableFile {
    return new StreamableFile(Readable.from(this.chunks(req)));
  }

  @Sse('sse')
  sse(@Req() req: any): Observable<{ data: string }> {
    return new Observable(subscriber => {
      subscriber.next({ data: 'begun' });
      setTimeout(() => {
        void this.work(req).then(() => {
          subscriber.next({ data: 'done' });
          subscriber.complete();
        });
      }, 5);
    });
  }

  /** Asked for at once, while Nest sends the headers. */
  @Sse('sse-at-once')
  sseAtOnce(@Req() req: any): Observable<{ data: string }> {
    return new Observable(subscriber => {
      void this.work(req).then(() => {
        subscriber.next({ data: 'begun' });
        subscriber.next({ data: 'done' });
        subscriber.complete();
      });
    });
  }

  private async *chunks(req: unknown) {
    yield 'begun ';
    await new Promise(resolve => setTimeout(resolve, 5));
    await this.work(req);
    yield 'done';
  }

  private raw(res: any) {
    res.hijack?.();
    return res.raw ?? res;
  }

  private async work(req: unknown) {
    outcome = await work(this.store, req, this.held!).catch((error: Error) => error.name);
  }
}

const WAYS = ['write', 'writeHead', 'flushHeaders', 'pipe', 'streamable', 'sse'];

describe.each(SETUPS)('first use after the headers: $storage, $adapter', setup => {
  const server = useServer({ ...setup, controllers: [ScriptController, LateController] });
  const known = async () =>
    new Browser(server.url, await server.store.create({ user: 'Ann', a: 1 } as never));
  const dataOf = async (browser: Browser) => (await server.store.get((await browser.cookie())!))?.data;
  const get = async (browser: Browser, way: string) => {
    outcome = undefined;
    const answer = await browser.get(`/late/${way}`);
    expect(answer.body).toMatch(/begun[^]*done/);
    expect(answer.status).toBe(200);
    return answer;
  };

  describe.each([...WAYS, 'sse-at-once'])('%s', way => {
    it('a stored session is served', async () => {
      const browser = await known();
      work = async store => (await store.current()).get('user');
      await get(browser, way);
      expect(outcome).toBe('Ann');
      work = async store => (await store.current({ readOnly: true })).get('user');
      await get(browser, way);
      expect(outcome).toBe('Ann');
    });

    it('what it changes is merged with what others stored meanwhile, when the answer ends', async () => {
      const browser = await known();
      const other = new Browser(server.url, await browser.cookie());
      work = async store => {
        const session = await store.current();
        if (way !== 'sse-at-once') {
          await other.value(others => void others.set('b', 2)); // it is not locked
        }
        session.set('c', 3);
      };
      await get(browser, way);
      const b = way === 'sse-at-once' ? {} : { b: 2 };
      await expect.poll(() => dataOf(browser)).toEqual({ user: 'Ann', a: 1, ...b, c: 3 });
    });

    it('req.session is served, and merged', async () => {
      const browser = await known();
      work = async (_store, req) => {
        await req.session.reload();
        req.session.c = req.session.user;
      };
      await get(browser, way);
      await expect.poll(() => dataOf(browser)).toEqual({ user: 'Ann', a: 1, c: 'Ann' });
    });
  });

  describe.each(WAYS)('%s, without a session', way => {
    it('reading gives an empty one, and nothing is stored', async () => {
      const before = await server.stored();
      work = async store => (await store.current()).size;
      const answer = await get(new Browser(server.url), way);
      expect(outcome).toBe(0);
      expect(answer.setCookies).toEqual([]);
      expect(await server.stored()).toBe(before);
    });

    it.each<[string, (session: Session) => unknown]>([
      ['set', session => session.set('a', 1)],
      ['data', session => ((session.data as any).a = 1)],
      ['update', session => session.update({ a: 1 })],
      ['setDefault', session => session.setDefault('a', 1)],
      ['owner', session => (session.owner = 'Ann')],
      ['save', session => session.save()],
      ['regenerate', session => session.regenerate()],
    ])('a new one cannot begin, and says so: %s', async (_name, change) => {
      const before = await server.stored();
      work = async store => change(await store.current());
      const answer = await get(new Browser(server.url), way);
      expect(outcome).toBe('SessionTooLateException');
      expect(answer.setCookies).toEqual([]);
      expect(await server.stored()).toBe(before);
    });

    it('a new one cannot begin by req.session, and says so', async () => {
      const before = await server.stored();
      work = async (_store, req) => {
        await req.session.reload();
        req.session.a = 1;
      };
      await get(new Browser(server.url), way);
      expect(outcome).toBe('SessionTooLateException');
      expect(await server.stored()).toBe(before);
    });
  });

  it('one that was used before the headers gets no new id, and is not stored where it is new', async () => {
    const [before, browser] = [await server.stored(), new Browser(server.url)];
    for (const name of ['regenerate', 'save'] as const) {
      work = (_store, _req, held) => held[name]();
      await get(browser, 'used-before');
      expect(outcome).toBe('SessionTooLateException');
    }
    expect(await server.stored()).toBe(before);
    const stored = await known();
    const id = (await stored.cookie())!;
    work = (_store, _req, held) => held.regenerate();
    await get(stored, 'used-before');
    expect(outcome).toBe('SessionTooLateException');
    expect(await server.store.exists(id)).toBe(true);
    expect(await server.stored()).toBe(before + 1);
  });

  it.each(WAYS)('%s: a session that is destroyed after the headers is gone', async way => {
    const browser = await known();
    const id = (await browser.cookie())!;
    work = async store => (await store.current()).destroy();
    await get(browser, way);
    expect(outcome).toBe(undefined);
    expect(await server.store.exists(id)).toBe(false);
    expect(lockCount(server)).toBe(0);
  });

  it.each(WAYS)('%s: a new id cannot reach the client after the headers: the old one stays', async way => {
    const browser = await known();
    const id = (await browser.cookie())!;
    const before = await server.stored();
    work = async store => (await store.current()).regenerate();
    await get(browser, way);
    expect(outcome).toBe('SessionTooLateException');
    expect(await server.store.exists(id)).toBe(true);
    expect(await server.stored()).toBe(before);
  });
});

import { Controller, Get, Injectable, Sse, StreamableFile, type INestApplication } from '@nestjs/common';
import { ClientProxyFactory, MessagePattern, Payload, Transport } from '@nestjs/microservices';
import { Interval, ScheduleModule } from '@nestjs/schedule';
import { Readable } from 'node:stream';
import { request } from 'node:http';
import { once } from 'node:events';
import { lastValueFrom, Observable } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Session, SessionStore } from 'nest-sessions';
import { ADAPTERS } from '../support/app.js';
import { Browser, ScriptController, useServer } from '../support/scripts.js';
import { freePort } from '../support/servers.js';
import { orAnother } from '../support/storage-names.js';

/** What keeps the streams below open. */
let endStreams: (() => void)[] = [];

@Controller()
class StreamsController {
  @Sse('events')
  events(@Session() session: Session): Observable<{ data: string }> {
    session.set('listening', true);
    return new Observable(subscriber => {
      subscriber.next({ data: 'hello' });
      endStreams.push(() => subscriber.complete());
    });
  }

  @Get('file')
  file(@Session() session: Session): StreamableFile {
    session.set('downloads', session.get('downloads', 0) + 1);
    const stream = new Readable({ read() {} });
    stream.push('the first part');
    endStreams.push(() => stream.push(null));
    return new StreamableFile(stream);
  }
}

describe.each(ADAPTERS)('streams: %s', adapter => {
  const server = useServer({
    adapter,
    storage: orAnother('postgresql'),
    controllers: [ScriptController, StreamsController],
  });

  it.each([
    ['server-sent events', '/events', { listening: true }],
    ['a StreamableFile', '/file', { downloads: 1 }],
  ])('%s: stored, and no lock held, while it streams', async (_name, path, stored) => {
    const browser = new Browser(server.url);
    await browser.value(session => void session.set('a', 1));
    const req = request(server.url + path, { headers: { cookie: `session_id=${await browser.cookie()}` } });
    req.end();
    const [res] = await once(req, 'response');
    await once(res, 'data'); // it has begun
    const turns = await Promise.all(
      Array.from({ length: 10 }, () =>
        browser.value(session => {
          session.set('a', session.get('a', 0) + 1);
          return session.toJSON();
        }),
      ),
    );
    expect(turns.at(-1)).toMatchObject(stored);
    expect(res.complete).toBe(false); // it streams still
    endStreams.forEach(end => end());
    endStreams = [];
    res.resume();
    await once(res, 'end');
    expect(await browser.value(session => session.get('a'))).toBe(11);
  });
});

/** What was asked of the session outside of HTTP. */
const outcomes: unknown[] = [];

@Injectable()
class Ticker {
  constructor(private readonly sessions: SessionStore) {}

  @Interval(20)
  async tick() {
    outcomes.push(await this.sessions.current().catch(error => error.name));
  }
}

@Controller()
class MessagesController {
  constructor(private readonly sessions: SessionStore) {}

  @MessagePattern('visits')
  async visits(@Payload() id: string) {
    return this.sessions.update(id, session => {
      session.set('visits', session.get('visits', 0) + 1);
      return session.get('visits');
    });
  }

  @MessagePattern('injected')
  injected(@Session() session: Session) {
    return session.toJSON();
  }
}

describe.each(ADAPTERS)('a hybrid application with a microservice and jobs: %s', adapter => {
  let port: number;
  let client: ReturnType<typeof ClientProxyFactory.create>;
  const server = useServer({
    adapter,
    controllers: [ScriptController, MessagesController],
    providers: [Ticker],
    imports: [ScheduleModule.forRoot()],
    async prepare(app: INestApplication) {
      port = await freePort();
      app.connectMicroservice({ transport: Transport.TCP, options: { port } });
      await app.startAllMicroservices();
    },
  });
  beforeAll(() => {
    client = ClientProxyFactory.create({ transport: Transport.TCP, options: { port } });
  });
  afterAll(() => client.close());

  it('messages reach a session by its id, under its lock', async () => {
    const id = await server.store.create({ visits: 0 } as never);
    const send = () => lastValueFrom(client.send<number>('visits', id));
    const browser = new Browser(server.url, id);
    await Promise.all([
      ...Array.from({ length: 10 }, send),
      ...Array.from({ length: 10 }, () =>
        browser.value(session => void session.set('visits', session.get('visits', 0) + 1)),
      ),
    ]);
    expect(await browser.value(session => session.get('visits'))).toBe(20);
  });

  it('@Session() in a message handler fails with what is wrong, and nothing else does', async () => {
    await expect(lastValueFrom(client.send('injected', {}))).rejects.toMatchObject({ status: 'error' });
    expect((await new Browser(server.url).run(session => session.size)).status).toBe(200);
  });

  it('a job runs as often as it says, and current() tells it that there is no request', async () => {
    await expect.poll(() => outcomes.length).toBeGreaterThan(2);
    expect(new Set(outcomes)).toEqual(new Set(['SessionContextException']));
  });
});

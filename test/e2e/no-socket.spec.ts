import { Controller, Get, Req } from '@nestjs/common';
import { EventEmitter } from 'node:events';
import { IncomingMessage, ServerResponse, type Server } from 'node:http';
import type { Socket } from 'node:net';
import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { Session, SessionStore } from 'nest-sessions';
import { ADAPTERS } from '../support/app.js';
import { ScriptController, useServer } from '../support/scripts.js';

@Controller()
class SocketController {
  constructor(private readonly store: SessionStore) {}

  @Get('visit')
  async visit(@Session() session: Session) {
    session.set('visits', session.get('visits', 0) + 1);
    return { visits: session.get('visits'), same: (await this.store.current()) === session };
  }

  /** The socket goes while the handler works, as of a client of undici's that aborts, or behind http-proxy. */
  @Get('gone')
  async gone(@Session() session: Session, @Req() req: any) {
    const raw = req.raw ?? req;
    Object.defineProperty(raw, 'socket', { value: null, configurable: true });
    Object.defineProperty(raw, 'connection', { value: null, configurable: true });
    return this.visit(session);
  }
}

interface Result {
  status: number;
  setCookie: string[];
  body: string;
}
type Call = (server: Server, path: string, cookie?: string) => Promise<Result>;

/** A request and a response that no connection ever had, as serverless adapters make them. */
function call(server: Server, socket: Socket | null, path: string, cookie?: string): Promise<Result> {
  const req = new IncomingMessage(socket as Socket);
  Object.assign(req, { method: 'GET', url: path, headers: { host: 'a', ...(cookie && { cookie }) } });
  req.push(null);
  const res = new ServerResponse(req);
  const chunks: Buffer[] = [];
  const target = new Writable({
    write(chunk: Buffer, _encoding, done) {
      chunks.push(chunk);
      done();
    },
  });
  res.assignSocket(target as unknown as Socket);
  return new Promise(resolve => {
    res.on('finish', () => {
      const [, body = ''] = Buffer.concat(chunks).toString('utf8').split('\r\n\r\n');
      resolve({
        status: res.statusCode,
        setCookie: [res.getHeader('set-cookie') ?? []].flat().map(String),
        body,
      });
    });
    server.emit('request', req, res);
  });
}

const CALLS: Record<string, Call> = {
  'req.socket is null': (server, path, cookie) => call(server, null, path, cookie),
  'req.socket is undefined': (server, path, cookie) => call(server, undefined as never, path, cookie),
  'req.socket is no socket': (server, path, cookie) =>
    call(server, new EventEmitter() as unknown as Socket, path, cookie),
};

const MODES = [
  {},
  { eager: true },
  { locking: 'early' as const },
  { secure: 'auto' as const, sameSite: 'none' as const },
];

describe.each(ADAPTERS.flatMap(adapter => MODES.map(sessions => ({ adapter, sessions }))))(
  'requests without a socket: $adapter, $sessions',
  ({ adapter, sessions }) => {
    const server = useServer({ adapter, sessions, controllers: [ScriptController, SocketController] });

    it.each(Object.entries(CALLS))('%s: as any other request', async (_name, send) => {
      for (const path of ['/visit', '/gone']) {
        const first = await send(server.app.getHttpServer(), path);
        expect(JSON.parse(first.body)).toEqual({ visits: 1, same: true });
        expect(first.setCookie).toHaveLength(1);
        const [cookie] = first.setCookie[0]!.split(';');
        const second = await send(server.app.getHttpServer(), path, cookie);
        expect(JSON.parse(second.body)).toEqual({ visits: 2, same: true });
        expect((await server.store.get(cookie!.split('=')[1]!))!.data).toEqual({ visits: 2 });
      }
    });

    // With Express, it makes the application good for nothing else.
    it.runIf(adapter === 'fastify')('inject(), as of tests and serverless adapters', async () => {
      const instance = server.app.getHttpAdapter().getInstance();
      const send = (headers: Record<string, string>) => instance.inject({ url: '/visit', headers });
      const first = await send({});
      expect(first.json()).toEqual({ visits: 1, same: true });
      const [{ name, value }] = first.cookies;
      const second = await send({ cookie: `${name}=${value}` });
      expect(second.json()).toEqual({ visits: 2, same: true });
      expect(second.cookies).toMatchObject([{ name, value }]);
    });

    it('of a real connection, whose socket goes while the handler works', async () => {
      const answer = await fetch(`${server.url}/gone`);
      expect(await answer.json()).toEqual({ visits: 1, same: true });
      expect(answer.headers.getSetCookie()).toHaveLength(1);
    });
  },
);

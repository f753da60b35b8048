import { Injectable, type INestApplication, type Type } from '@nestjs/common';
import { IoAdapter } from '@nestjs/platform-socket.io';
import { WsAdapter } from '@nestjs/platform-ws';
import {
  ConnectedSocket,
  SubscribeMessage,
  WebSocketGateway,
  type OnGatewayConnection,
} from '@nestjs/websockets';
import type { IncomingMessage } from 'node:http';
import { once } from 'node:events';
import { io } from 'socket.io-client';
import { describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { SessionStore } from 'nest-sessions';
import { ADAPTERS, type AdapterName, type TestApp } from '../support/app.js';
import { Browser, ScriptController, useServer } from '../support/scripts.js';
import { orAnother } from '../support/storage-names.js';

/** What a client of either kind is to the tests. */
interface Connection {
  ask(event: string): Promise<any>;
  close(): void;
  closed: Promise<unknown>;
}

const disconnect = (socket: any) => (socket.disconnect ?? socket.close).call(socket);

/** A gateway whose sockets belong to the session that their handshake named. */
@Injectable()
class SessionGateway implements OnGatewayConnection {
  constructor(private readonly store: SessionStore) {}

  /** Of the session, only the id is kept: it is read when it is needed, as it is then. */
  async handleConnection(socket: any, request?: IncomingMessage) {
    // With ws, Nest passes the handshake; socket.io has it at the socket.
    socket.session = this.store.fromRequest(request ?? socket.request).then(session => session?.id);
    if (!(await socket.session)) {
      disconnect(socket);
    }
  }

  @SubscribeMessage('add')
  async add(@ConnectedSocket() socket: any) {
    const count = await this.store.update(await socket.session, async session => {
      const before: number = session.get('count', 0);
      await new Promise(resolve => setTimeout(resolve, 2));
      session.set('count', before + 1);
      return before + 1;
    });
    if (count === undefined) {
      disconnect(socket); // the session has ended: a log-out elsewhere
    }
    return { event: 'add', data: count };
  }

  @SubscribeMessage('user')
  async user(@ConnectedSocket() socket: any) {
    const session = await this.store.get(await socket.session);
    return { event: 'user', data: (session?.data as any)?.user };
  }
}

@WebSocketGateway()
class IoGateway extends SessionGateway {}

@WebSocketGateway({ path: '/ws' })
class WsGateway extends SessionGateway {}

const KINDS: Record<
  string,
  {
    gateway: Type<SessionGateway>;
    adapter: (app: INestApplication) => any;
    open: (server: TestApp, cookie: string) => Connection;
  }
> = {
  'socket.io': {
    gateway: IoGateway,
    adapter: app => new IoAdapter(app),
    open({ url }, cookie) {
      const socket = io(url, { transports: ['websocket'], extraHeaders: { cookie }, reconnection: false });
      return {
        ask: event =>
          new Promise(resolve => {
            socket.once(event, resolve);
            socket.emit(event, {});
          }),
        close: () => void socket.close(),
        closed: new Promise(resolve => socket.once('disconnect', resolve)),
      };
    },
  },
  ws: {
    gateway: WsGateway,
    adapter: app => new WsAdapter(app),
    open({ url }, cookie) {
      const socket = new WebSocket(`${url.replace('http', 'ws')}/ws`, { headers: { cookie } });
      const opened = once(socket, 'open');
      return {
        async ask(event) {
          await opened;
          const answer = once(socket, 'message');
          socket.send(JSON.stringify({ event, data: {} }));
          return JSON.parse(String((await answer)[0])).data;
        },
        close: () => socket.close(),
        closed: once(socket, 'close'),
      };
    },
  },
};

const SETUPS = Object.keys(KINDS).flatMap(kind =>
  ADAPTERS.map(adapter => [kind, adapter] as [string, AdapterName]),
);

describe.each(SETUPS)('WebSockets with %s on %s', (name, adapter) => {
  const kind = KINDS[name]!;
  const server = useServer({
    adapter,
    storage: orAnother('postgresql'),
    controllers: [ScriptController],
    providers: [kind.gateway],
    prepare: app => void app.useWebSocketAdapter(kind.adapter(app)),
  });
  const logIn = async () => {
    const browser = new Browser(server.url);
    await browser.value(session => void session.set('user', 'Ann'));
    return { browser, cookie: `session_id=${await browser.cookie()}` };
  };

  it('the handshake names the session', async () => {
    const { cookie } = await logIn();
    const connection = kind.open(server, cookie);
    expect(await connection.ask('user')).toBe('Ann');
    connection.close();
  });

  it('a handshake without a session is turned away', async () => {
    await kind.open(server, `session_id=${'x'.repeat(43)}`).closed;
  });

  it('no lost update: 10 messages on each of two sockets and 10 requests at once end at 30', async () => {
    const { browser, cookie } = await logIn();
    const sockets = [kind.open(server, cookie), kind.open(server, cookie)];
    await Promise.all([
      ...sockets.map(async socket => {
        for (let turn = 0; turn < 10; turn++) {
          await socket.ask('add');
        }
      }),
      ...Array.from({ length: 10 }, () =>
        browser.value(session => void session.set('count', session.get('count', 0) + 1)),
      ),
    ]);
    expect(await browser.value(session => session.get('count'))).toBe(30);
    sockets.forEach(socket => socket.close());
  });

  it('no resurrection: after the log-out elsewhere a message changes nothing, and the socket is closed', async () => {
    const { browser, cookie } = await logIn();
    const id = (await browser.cookie())!;
    const connection = kind.open(server, cookie);
    expect(await connection.ask('add')).toBe(1);
    await browser.run(session => session.destroy());
    void connection.ask('add').catch(() => undefined);
    await connection.closed;
    expect(await server.store.exists(id)).toBe(false);
  });
});

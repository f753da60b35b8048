import 'reflect-metadata';
import { Controller, Get, Module, Post, UnauthorizedException } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { Session, SessionsModule, SessionStore } from 'nest-sessions';

declare module 'nest-sessions' {
  interface SessionData {
    user?: string;
    visits?: number;
  }
}

@Controller()
class AccountController {
  constructor(private readonly sessions: SessionStore) {}

  @Post('log-in')
  async logIn(@Session() session: Session) {
    await session.regenerate();
    session.set('user', 'Ann');
  }

  @Get('visit')
  async visit(@Session() session: Session) {
    const visits = session.get('visits', 0);
    await new Promise(resolve => setTimeout(resolve, 5));
    session.set('visits', visits + 1);
  }

  @Get('me')
  async me() {
    const session = await this.sessions.current({ readOnly: true });
    if (!session.has('user')) {
      throw new UnauthorizedException();
    }
    return session.toJSON();
  }

  @Post('log-out')
  async logOut(@Session() session: Session) {
    await session.destroy();
  }
}

@Module({
  imports: [SessionsModule.forRoot({ secret: 'a secret of the smoke test' })],
  controllers: [AccountController],
})
class AppModule {}

const echo = createServer(socket => socket.pipe(socket)).listen(0, '127.0.0.1');
const callbacks: (() => void)[] = [];
let shared: Socket | undefined;

/** Goes on in a callback of a connection that the first request opened, as database drivers do. */
function goOnElsewhere(next: () => void): void {
  shared ??= connect((echo.address() as AddressInfo).port, '127.0.0.1').on('data', data =>
    data.forEach(() => callbacks.shift()!()),
  );
  callbacks.push(next);
  shared.write('?');
}

/** Prints what a user meets who logs in, sends twenty requests at once, and logs out, whatever comes before the routes. */
async function main(): Promise<void> {
  const options = { logger: false, abortOnError: false } as const;
  const app = await (process.env.ADAPTER === 'fastify'
    ? NestFactory.create(AppModule, new FastifyAdapter(), options)
    : NestFactory.create(AppModule, options));
  if (process.env.ADAPTER === 'fastify') {
    const hook = (_request: unknown, _reply: unknown, done: () => void) => goOnElsewhere(done);
    app.getHttpAdapter().getInstance().addHook('preHandler', hook);
  } else {
    app.use((_req: unknown, _res: unknown, next: () => void) => goOnElsewhere(next));
  }
  await app.listen(0, '127.0.0.1');
  const url = await app.getUrl();
  let cookie = '';
  const ask = async (path: string, method = 'GET') => {
    const response = await fetch(`${url}/${path}`, { method, headers: { cookie } });
    const [sent] = response.headers.getSetCookie();
    cookie = sent?.split(';')[0] ?? cookie;
    return `${response.status} ${await response.text()}`.trim();
  };
  console.log(await ask('me').then(answer => answer.slice(0, 3)));
  console.log(await ask('log-in', 'POST'));
  await Promise.all(Array.from({ length: 20 }, () => ask('visit')));
  console.log(await ask('me'));
  const old = cookie;
  console.log(await ask('log-out', 'POST'));
  cookie = old;
  console.log(await ask('me').then(answer => answer.slice(0, 3)));
  await app.close();
  shared?.destroy();
  echo.close();
}

main().catch((error: Error) => console.log(`${error.name}: ${error.message}`));

import {
  Controller,
  Get,
  Injectable,
  Module,
  Post,
  Req,
  UnauthorizedException,
  UseGuards,
  type CanActivate,
  type ExecutionContext,
  type INestApplication,
} from '@nestjs/common';
import { AuthGuard, PassportModule, PassportSerializer, PassportStrategy } from '@nestjs/passport';
import passport from 'passport';
import { Strategy } from 'passport-local';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { Session } from 'nest-sessions';
import { ADAPTERS, type AdapterName } from '../support/app.js';
import { Client } from '../support/client.js';
import { ScriptController, useServer } from '../support/scripts.js';

interface User {
  id: number;
  name: string;
}
const ANN: User = { id: 7, name: 'Ann' };

@Injectable()
class LocalStrategy extends PassportStrategy(Strategy) {
  validate(username: string, password: string): User {
    if (username !== 'ann' || password !== 'secret') {
      throw new UnauthorizedException();
    }
    return ANN;
  }
}

@Injectable()
class UserSerializer extends PassportSerializer {
  serializeUser(user: User, done: (error: unknown, id: number) => void) {
    done(null, user.id);
  }

  deserializeUser(id: number, done: (error: unknown, user: User | null) => void) {
    done(null, id === ANN.id ? ANN : null);
  }
}

/** As Nest's documentation has it: checks name and password, and logs the user in. */
@Injectable()
class LogInGuard extends AuthGuard('local') {
  override async canActivate(context: ExecutionContext): Promise<boolean> {
    await super.canActivate(context);
    await super.logIn(context.switchToHttp().getRequest());
    return true;
  }
}

/** What passport.session() does as a middleware; on Fastify, whose middleware gets another request, as a guard. */
@Injectable()
class PassportSessionGuard implements CanActivate {
  private readonly authenticate = promisify(passport.authenticate('session'));

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const http = context.switchToHttp();
    await this.authenticate(http.getRequest(), http.getResponse());
    return true;
  }
}

@Controller()
class AccountController {
  @Post('log-in')
  @UseGuards(LogInGuard)
  logIn(@Req() req: any) {
    return req.user;
  }

  @Post('log-in-and-keep')
  @UseGuards(AuthGuard('local'))
  async logInAndKeep(@Req() req: any) {
    await promisify((user: User, done: (error: unknown) => void) =>
      req.logIn(user, { keepSessionInfo: true }, done),
    )(req.user);
  }

  @Post('log-out')
  @UseGuards(PassportSessionGuard)
  async logOut(@Req() req: any) {
    await promisify((done: (error: unknown) => void) => req.logOut(done))();
  }

  @Get('me')
  @UseGuards(PassportSessionGuard)
  me(@Req() req: any) {
    return { user: req.user ?? null };
  }

  @Get('put')
  put(@Session() session: Session) {
    session.set('cart', ['book']);
  }

  @Get('cart')
  cart(@Session({ readOnly: true }) session: Session) {
    return { cart: session.get('cart', null) };
  }
}

@Module({
  imports: [PassportModule.register({ session: true })],
  providers: [LocalStrategy, UserSerializer],
  controllers: [AccountController],
})
class AccountModule {}

const WAYS: [string, AdapterName, (app: INestApplication) => void][] = [
  [
    'passport.session() as middleware',
    'express',
    app => void app.use(passport.initialize()).use(passport.session()),
  ],
  ...ADAPTERS.map(adapter => ['a guard', adapter, () => undefined] as (typeof WAYS)[number]),
];

describe.each(WAYS)('passport and @nestjs/passport, %s, %s', (_way, adapter, prepare) => {
  const server = useServer({
    adapter,
    controllers: [ScriptController],
    imports: [AccountModule],
    sessions: { eager: true },
    prepare,
  });
  const credentials = { username: 'ann', password: 'secret' };
  const logIn = (client: Client, path = '/log-in') => client.post(path, { body: credentials });
  const userOf = async (client: Client) => (await client.get('/me')).json().user;

  it('who has logged in is req.user in the next request', async () => {
    const client = new Client(server.url);
    expect(await userOf(client)).toBeNull();
    expect((await logIn(client)).json()).toEqual(ANN);
    expect(await userOf(client)).toEqual(ANN);
  });

  it('a wrong password logs nobody in, and stores nothing', async () => {
    const client = new Client(server.url);
    const before = await server.stored();
    expect((await client.post('/log-in', { body: { ...credentials, password: 'x' } })).status).toBe(401);
    expect(await userOf(client)).toBeNull();
    expect(await server.stored()).toBe(before);
  });

  it('fixation-proof: the id from before the log-in is dead after it', async () => {
    const client = new Client(server.url);
    await client.get('/put');
    const before = (await client.cookie())!;
    await logIn(client);
    expect(await client.cookie()).not.toBe(before);
    expect(await server.store.exists(before)).toBe(false);
  });

  it('keepSessionInfo keeps what was in the session, without it, it is gone', async () => {
    for (const [path, cart] of [
      ['/log-in-and-keep', ['book']],
      ['/log-in', null],
    ] as const) {
      const client = new Client(server.url);
      await client.get('/put');
      expect((await logIn(client, path)).status).toBe(201);
      expect((await client.get('/cart')).json()).toEqual({ cart });
      expect(await userOf(client)).toEqual(ANN);
    }
  });

  it('no resurrection: who has logged out stays so, also with the old cookie', async () => {
    const client = new Client(server.url);
    await logIn(client);
    const id = (await client.cookie())!;
    expect((await client.post('/log-out')).status).toBe(201);
    expect(await userOf(client)).toBeNull();
    const thief = new Client(server.url);
    thief.jar.setCookieSync(`session_id=${id}`, server.url);
    expect(await userOf(thief)).toBeNull();
  });

  it('no lost update: 20 requests of a user at once keep what each has added', async () => {
    const client = new Client(server.url);
    await logIn(client);
    const id = (await client.cookie())!;
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        await client.get('/me');
        await server.store.update(id, session => session.set('n', session.get('n', 0) + 1));
      }),
    );
    expect((await server.store.get(id))!.data).toMatchObject({ n: 20, passport: { user: 7 } });
  });
});

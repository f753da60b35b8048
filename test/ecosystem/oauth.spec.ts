import { Controller, Get, Req, Session as NestSession, UseGuards } from '@nestjs/common';
import { AuthGuard } from '@nestjs/passport';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import grant from 'grant';
import { generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { promisify } from 'node:util';
import { allowInsecureRequests, discovery } from 'openid-client';
import { Strategy } from 'openid-client/passport';
import passport from 'passport';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadSession, type ExpressSession } from 'nest-sessions';
import { ADAPTERS } from '../support/app.js';
import { Client } from '../support/client.js';
import { ScriptController, useServer } from '../support/scripts.js';
import { freePort } from '../support/servers.js';

const CLIENT = 'the-shop';

/** The least that an OpenID provider does: sends a user back with a code, and gives tokens for it. */
class Provider {
  private readonly keys = generateKeyPairSync('rsa', { modulusLength: 2048 });
  private readonly nonces = new Map<string, string | null>();
  private readonly server = createServer((req, res) => {
    const { pathname, searchParams } = new URL(req.url!, this.url);
    if (pathname === '/authorize') {
      res.writeHead(302, { location: this.authorize(searchParams) }).end();
      return;
    }
    let form = '';
    req.on('data', chunk => {
      form += chunk;
    });
    req.on('end', () => {
      res.setHeader('content-type', 'application/json');
      res.end(JSON.stringify(this.answer(pathname, new URLSearchParams(form))));
    });
  });
  url!: string;

  async start(): Promise<void> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    this.url = `http://127.0.0.1:${(this.server.address() as { port: number }).port}`;
  }

  close(): void {
    this.server.close();
  }

  private authorize(params: URLSearchParams): string {
    const code = randomUUID();
    this.nonces.set(code, params.get('nonce'));
    const back = new URL(params.get('redirect_uri')!);
    back.searchParams.set('code', code);
    const state = params.get('state');
    if (state) {
      back.searchParams.set('state', state);
    }
    return back.href;
  }

  private answer(path: string, form: URLSearchParams): object {
    switch (path) {
      case '/.well-known/openid-configuration':
        return {
          issuer: this.url,
          authorization_endpoint: `${this.url}/authorize`,
          token_endpoint: `${this.url}/token`,
          jwks_uri: `${this.url}/jwks`,
          response_types_supported: ['code'],
          subject_types_supported: ['public'],
          id_token_signing_alg_values_supported: ['RS256'],
          code_challenge_methods_supported: ['S256'],
        };
      case '/jwks':
        return {
          keys: [{ ...this.keys.publicKey.export({ format: 'jwk' }), kid: '1', alg: 'RS256', use: 'sig' }],
        };
      default:
        return { access_token: 'a-token', token_type: 'bearer', id_token: this.idToken(form.get('code')!) };
    }
  }

  private idToken(code: string): string {
    const now = Math.floor(Date.now() / 1000);
    const nonce = this.nonces.get(code) ?? undefined;
    const claims = { iss: this.url, aud: CLIENT, sub: 'ann', iat: now, exp: now + 60, nonce };
    const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url');
    const signed = `${encode({ alg: 'RS256', kid: '1' })}.${encode(claims)}`;
    return `${signed}.${sign('sha256', Buffer.from(signed), this.keys.privateKey).toString('base64url')}`;
  }
}

const provider = new Provider();
beforeAll(() => provider.start());
afterAll(() => provider.close());

/** Follows redirects, as a browser does. @returns the last answer */
async function follow(client: Client, path: string): Promise<string> {
  let answer = await client.get(path);
  while (answer.headers.location) {
    const { origin, pathname, search } = new URL(answer.headers.location, client.base);
    const at = origin === client.base ? client : new Client(origin);
    answer = await at.get(pathname + search);
  }
  return answer.body;
}

@Controller()
class WelcomeController {
  @Get('welcome')
  welcome(@NestSession() session: ExpressSession) {
    return { token: session.grant.response.access_token };
  }
}

const PORTS = { express: await freePort(), fastify: await freePort() };

describe.each(ADAPTERS)('grant: %s', adapter => {
  const port = PORTS[adapter];
  const server = useServer({
    adapter,
    port,
    controllers: [ScriptController, WelcomeController],
    sessions: { eager: adapter === 'fastify' }, // where grant answers by routes of its own
    async prepare(app) {
      const config = {
        defaults: { origin: `http://127.0.0.1:${port}`, transport: 'session', state: true },
        own: {
          oauth: 2,
          authorize_url: `${provider.url}/authorize`,
          access_url: `${provider.url}/token`,
          key: CLIENT,
          secret: 'secret',
          callback: '/welcome',
        },
      };
      if (adapter === 'express') {
        app.use(loadSession, (grant as any).express(config));
      } else {
        await (app as NestFastifyApplication).register((grant as any).fastify(config));
      }
    },
  });

  it('brings a user back with a token, and keeps its state in the session', async () => {
    expect(await follow(new Client(server.url), '/connect/own')).toBe('{"token":"a-token"}');
  });
});

@Controller()
class OpenidController {
  @Get('log-in')
  @UseGuards(AuthGuard('openid'))
  logIn() {}

  @Get('callback')
  @UseGuards(AuthGuard('openid'))
  async callback(@Req() req: any) {
    await promisify((done: (error: unknown) => void) => req.logIn(req.user, done))();
    return req.user;
  }

  @Get('me')
  me(@Req() req: any) {
    return { user: req.session.passport?.user ?? null };
  }
}

describe('openid-client, with passport', () => {
  const server = useServer({
    controllers: [ScriptController, OpenidController],
    sessions: { eager: true },
    async prepare(app) {
      const config = await discovery(new URL(provider.url), CLIENT, 'secret', undefined, {
        execute: [allowInsecureRequests],
      });
      const strategy = new Strategy(
        { name: 'openid', config, scope: 'openid', callbackURL: 'http://to-be-replaced/' },
        (tokens, done) => done(null, { sub: tokens.claims()!.sub }),
      );
      // The port is known only once the application listens.
      strategy.authorizationRequestParams = () =>
        new URLSearchParams({ redirect_uri: `${server.url}/callback` });
      passport.use(strategy);
      passport.serializeUser((user, done) => done(null, user));
      app.use(passport.initialize());
    },
  });

  it('logs a user in, with its state kept in the session from one request to the next', async () => {
    const client = new Client(server.url);
    expect((await client.get('/me')).json()).toEqual({ user: null });
    expect(await follow(client, '/log-in')).toBe('{"sub":"ann"}');
    expect((await client.get('/me')).json()).toEqual({ user: { sub: 'ann' } });
  });
});

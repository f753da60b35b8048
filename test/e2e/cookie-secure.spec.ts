import { Controller, Get, type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Agent } from 'node:https';
import { CookieJar } from 'tough-cookie';
import { afterEach, describe, expect, it } from 'vitest';
import { Session, SessionsModule, type SessionModuleOptions } from 'nest-sessions';
import { SETUPS } from '../support/app.js';
import { makeCertificate } from '../support/certificate.js';
import { sendRaw } from '../support/client.js';
import { sessionCookie } from '../support/set-cookies.js';
import { newStorage } from '../support/storages.js';

@Controller()
class SecureController {
  @Get('write')
  write(@Session() session: Session) {
    session.set('seen', true);
    return {};
  }

  @Get('destroy')
  async destroy(@Session() session: Session) {
    await session.destroy();
    return {};
  }
}

interface Connection {
  tls?: boolean;
  trustProxy?: boolean;
  /** What the request's X-Forwarded-Proto says. */
  forwarded?: 'http' | 'https';
  secure?: boolean | 'auto';
}

const CASES: [title: string, connection: Connection, isSecure: boolean][] = [
  ['auto, plain HTTP', { secure: 'auto' }, false],
  ['auto by default, plain HTTP', {}, false],
  ['auto, TLS', { secure: 'auto', tls: true }, true],
  ['auto by default, TLS', { tls: true }, true],
  ['auto, a trusted proxy that got HTTPS', { trustProxy: true, forwarded: 'https' }, true],
  ['auto, a trusted proxy that got HTTP', { trustProxy: true, forwarded: 'http' }, false],
  ['auto, a trusted proxy that does not say', { trustProxy: true }, false],
  ['auto, a client that only claims HTTPS', { forwarded: 'https' }, false],
  ['auto, TLS, and a client that claims HTTP', { tls: true, forwarded: 'http' }, true],
  ['true, plain HTTP', { secure: true }, true],
  ['true, TLS', { secure: true, tls: true }, true],
  ['false, plain HTTP', { secure: false }, false],
  ['false, TLS', { secure: false, tls: true }, false],
  ['false, a trusted proxy', { secure: false, trustProxy: true, forwarded: 'https' }, false],
];

const certificate = makeCertificate();
const agent = new Agent({ ca: certificate.cert, rejectUnauthorized: false });
let app: INestApplication | undefined;

afterEach(() => app?.close());

const send = (url: string, { tls, forwarded }: Connection, cookie?: string) =>
  sendRaw(url, {
    headers: { ...(forwarded && { 'x-forwarded-proto': forwarded }), ...(cookie && { cookie }) },
    ...(tls && { agent }),
  });

describe.each(SETUPS)("the cookie's Secure: $storage, $adapter", ({ storage, adapter }) => {
  async function start(
    { tls, trustProxy = false }: Connection,
    options: SessionModuleOptions,
  ): Promise<string> {
    const sessions = { ...(await newStorage(storage)), ...options };
    class TestModule {}
    const module = {
      module: TestModule,
      imports: [SessionsModule.forRoot(sessions)],
      controllers: [SecureController],
    };
    if (adapter === 'fastify') {
      const fastify = tls
        ? new FastifyAdapter({ https: certificate, trustProxy })
        : new FastifyAdapter({ trustProxy });
      app = await NestFactory.create(module, fastify, { logger: false, abortOnError: false });
    } else {
      const express = await NestFactory.create<NestExpressApplication>(module, {
        logger: false,
        abortOnError: false,
        ...(tls && { httpsOptions: certificate }),
      });
      express.set('trust proxy', trustProxy);
      app = express;
    }
    await app.listen(0, '127.0.0.1');
    return `${tls ? 'https' : 'http'}://127.0.0.1:${app.getHttpServer().address().port}`;
  }

  it.each(CASES)('%s', async (_title, connection, isSecure) => {
    const { secure } = connection;
    const url = await start(connection, secure === undefined ? {} : { secure });
    const set = sessionCookie(await send(`${url}/write`, connection))!;
    expect(set.secure).toBe(isSecure);
    const cleared = sessionCookie(await send(`${url}/destroy`, connection, set.cookieString()))!;
    expect(cleared).toMatchObject({ value: '', secure: isSecure });
  });

  it.each(['__Host-id', '__Secure-id'])('%s is accepted, and dropped, by a strict jar', async name => {
    const connection = { trustProxy: true, forwarded: 'https' as const };
    const url = await start(connection, { name });
    const jar = new CookieJar(undefined, { prefixSecurity: 'strict' });
    const seenAt = 'https://shop.example.com/cart';
    for (const text of (await send(`${url}/write`, connection)).setCookies) {
      await jar.setCookie(text, seenAt);
    }
    const cookie = await jar.getCookieString(seenAt);
    expect(cookie).toMatch(name);
    for (const text of (await send(`${url}/destroy`, connection, cookie)).setCookies) {
      await jar.setCookie(text, seenAt);
    }
    expect(await jar.getCookieString(seenAt)).toBe('');
  });
});

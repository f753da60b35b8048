import type { DynamicModule, INestApplication, Provider, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { SESSION_BACKEND, SessionsModule, SessionStore } from 'nest-sessions';
import { inLong } from './long.js';
import { isTested, STORAGES, type StorageName } from './storage-names.js';
import { countStored, newStorage, type AnyOptions, type StorageUnderTest } from './storages.js';

export type AdapterName = 'express' | 'fastify';
export const ADAPTERS: AdapterName[] = ['express', 'fastify'];

/** What one and the same test runs on. */
export interface Setup {
  storage: StorageName;
  adapter: AdapterName;
}
/** Every storage on every adapter. */
export const ALL_SETUPS: Setup[] = STORAGES.flatMap(storage =>
  ADAPTERS.map(adapter => ({ storage, adapter })),
);
/** The same in the long proof. In `npm test`: every storage and every adapter, but not each on each. */
export const SETUPS: Setup[] = inLong<Setup[]>(ALL_SETUPS, [
  { storage: 'ram', adapter: 'express' },
  { storage: 'file', adapter: 'fastify' },
  { storage: 'postgresql', adapter: 'express' },
  { storage: 'memcached', adapter: 'fastify' },
  { storage: 'redis', adapter: 'express' },
]).filter(({ storage }) => isTested(storage));

export interface TestApp {
  app: INestApplication;
  /** Like http://127.0.0.1:41234 */
  url: string;
  /** The options that it was started with. */
  sessions: StorageUnderTest;
  store: SessionStore;
  /** How many sessions are stored. */
  stored(): Promise<number>;
  close(): Promise<void>;
}

export interface TestAppOptions {
  adapter?: AdapterName;
  /** A new one, with nothing in it. */
  storage?: StorageName;
  sessions?: AnyOptions;
  controllers?: Type[];
  providers?: Provider[];
  imports?: (DynamicModule | Type)[];
  /** Last steps before it listens. */
  prepare?: (app: INestApplication) => void | Promise<void>;
  logger?: false | ['error'];
  /** Default: any that is free. */
  port?: number;
  /** Believe X-Forwarded-Proto. */
  trustProxy?: boolean;
}

/** A Nest application with sessions that listens on a free port. */
export async function startApp(options: TestAppOptions): Promise<TestApp> {
  const storage = await newStorage(options.storage ?? 'ram');
  const sessions = { ...storage, ...options.sessions } as StorageUnderTest;
  class TestModule {}
  const module: DynamicModule = {
    module: TestModule,
    imports: [SessionsModule.forRoot(sessions), ...(options.imports ?? [])],
    controllers: options.controllers ?? [],
    providers: options.providers ?? [],
  };
  const settings = {
    logger: options.logger ?? (process.env.TEST_LOG ? (['error'] as ['error']) : (false as const)),
    abortOnError: false,
  };
  const app =
    options.adapter === 'fastify'
      ? await NestFactory.create(
          module,
          new FastifyAdapter({ trustProxy: options.trustProxy ?? false }),
          settings,
        )
      : await NestFactory.create(module, settings);
  if (options.trustProxy && options.adapter !== 'fastify') {
    (app as NestExpressApplication).set('trust proxy', true);
  }
  await options.prepare?.(app);
  await app.listen(options.port ?? 0, '127.0.0.1');
  const server = app.getHttpServer();
  // Node closes a connection that rests for 5 s: on a busy machine, as a client takes it for its next request.
  server.keepAliveTimeout = 60_000;
  const { port } = server.address();
  return {
    app,
    url: `http://127.0.0.1:${port}`,
    sessions,
    store: app.get(SessionStore),
    stored: () => countStored(app.get(SESSION_BACKEND), sessions),
    close: () => app.close(),
  };
}

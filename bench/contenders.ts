import type { DynamicModule, INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { SessionModuleOptions } from 'nest-sessions';
import { BEFORE, FLOOR, OWN } from './data.js';
import { FloorController, ownController, PeerController } from './controllers.js';

/** The packages under test live in a folder of their own, so that nobody who works on this one installs them. */
const requirePeer = createRequire(new URL('../../peers/package.json', import.meta.url));

export const STORAGES = ['ram', 'file', 'postgresql', 'memcached'] as const;
export type Storage = (typeof STORAGES)[number];
export type Adapter = 'express' | 'fastify';

/** What a contender's store is told: where it keeps its sessions. */
export interface Places {
  folder: string;
  postgresqlUrl: string;
  memcachedServers: string;
}

export interface Contender {
  name: string;
  adapter: Adapter;
  /** None: Nest alone. */
  storage?: Storage;
  /** The peer's package; none: this one, or Nest alone. */
  peer?: string;
  /** The folder of another version of this package, whose dist/index.js it is built on; none: on this one. */
  before?: string;
}

export const CONTENDERS: Contender[] = [
  { name: FLOOR, adapter: 'express' },
  { name: `${FLOOR}, Fastify`, adapter: 'fastify' },
  { name: OWN, adapter: 'express', storage: 'ram' },
  { name: 'express-session MemoryStore', adapter: 'express', storage: 'ram', peer: 'express-session' },
  { name: 'memorystore', adapter: 'express', storage: 'ram', peer: 'memorystore' },
  { name: `${OWN}, Fastify`, adapter: 'fastify', storage: 'ram' },
  { name: '@fastify/session', adapter: 'fastify', storage: 'ram', peer: '@fastify/session' },
  { name: OWN, adapter: 'express', storage: 'file' },
  { name: 'session-file-store', adapter: 'express', storage: 'file', peer: 'session-file-store' },
  { name: OWN, adapter: 'express', storage: 'postgresql' },
  { name: 'connect-pg-simple', adapter: 'express', storage: 'postgresql', peer: 'connect-pg-simple' },
  { name: 'connect-typeorm', adapter: 'express', storage: 'postgresql', peer: 'connect-typeorm' },
  { name: OWN, adapter: 'express', storage: 'memcached' },
  { name: 'connect-memjs', adapter: 'express', storage: 'memcached', peer: 'connect-memjs' },
  { name: 'connect-memcached', adapter: 'express', storage: 'memcached', peer: 'connect-memcached' },
];

/** With those of this package, each followed by the same on another version. */
export const withBefore = (folder: string): Contender[] =>
  CONTENDERS.flatMap(contender =>
    contender.name.startsWith(OWN)
      ? [contender, { ...contender, name: contender.name + BEFORE, before: resolve(folder) }]
      : [contender],
  );

const SECRET = 'a secret of at least thirty-two characters';
const HOUR = 3_600_000;

/** A Nest application of the contender, ready to listen. */
export async function createApp(contender: Contender, places: Places): Promise<INestApplication> {
  const { adapter, storage, peer } = contender;
  const module: DynamicModule =
    storage === undefined
      ? { module: BenchModule, controllers: [FloorController] }
      : peer === undefined
        ? await ownModule(contender, storage, places)
        : { module: BenchModule, controllers: [PeerController] };
  const settings = { logger: ['error'] as ['error'] };
  if (adapter === 'fastify') {
    const app = await NestFactory.create<NestFastifyApplication>(module, new FastifyAdapter(), settings);
    if (peer !== undefined) {
      await app.register(requirePeer('@fastify/cookie'));
      await app.register(requirePeer(peer), {
        secret: SECRET,
        saveUninitialized: false,
        cookie: { secure: false, maxAge: HOUR },
      });
    }
    return app;
  }
  const app = await NestFactory.create(module, settings);
  if (peer !== undefined) {
    const session = requirePeer('express-session');
    app.use(
      session({
        secret: SECRET,
        resave: false,
        saveUninitialized: false,
        cookie: { maxAge: HOUR },
        store: await peerStore(peer, session, places),
      }),
    );
  }
  return app;
}

class BenchModule {}

/** Loads no other version than the one that it is built on. */
async function ownModule({ before }: Contender, storage: Storage, places: Places): Promise<DynamicModule> {
  const entry = before === undefined ? 'nest-sessions' : pathToFileURL(join(before, 'dist/index.js')).href;
  const sessions: typeof import('nest-sessions') = await import(entry);
  return {
    module: BenchModule,
    controllers: [ownController(sessions)],
    imports: [sessions.SessionsModule.forRoot({ secret: SECRET, ...ownOptions(storage, places, before) })],
  };
}

function ownOptions(storage: Storage, places: Places, before: string | undefined): SessionModuleOptions {
  switch (storage) {
    case 'ram':
      return { maxSessions: 10_000_000 };
    case 'file':
      return { storageType: 'file', storagePath: places.folder };
    case 'postgresql': {
      // Another version may have another table.
      const tableName = before === undefined ? 'nest_sessions' : 'nest_sessions_before';
      return { storageType: 'postgresql', url: places.postgresqlUrl, tableName };
    }
    case 'memcached':
      return { storageType: 'memcached', servers: places.memcachedServers };
  }
}

/** Each as its documentation sets it up for production. */
async function peerStore(peer: string, session: unknown, places: Places): Promise<unknown> {
  switch (peer) {
    case 'memorystore':
      return new (requirePeer(peer)(session))({ checkPeriod: 24 * HOUR });
    case 'session-file-store':
      return new (requirePeer(peer)(session))({ path: places.folder, logFn: () => undefined });
    case 'connect-pg-simple':
      return new (requirePeer(peer)(session))({
        conString: places.postgresqlUrl,
        createTableIfMissing: true,
      });
    case 'connect-typeorm': {
      const { DataSource, EntitySchema } = requirePeer('typeorm');
      const entity = new EntitySchema({
        name: 'typeorm_session',
        columns: {
          id: { type: 'varchar', length: 255, primary: true },
          expiredAt: { type: 'bigint' },
          json: { type: 'text' },
          destroyedAt: { type: 'timestamp', nullable: true, deleteDate: true },
        },
        indices: [{ columns: ['expiredAt'] }],
      });
      const source = new DataSource({
        type: 'postgres',
        url: places.postgresqlUrl,
        entities: [entity],
        synchronize: true,
      });
      const { manager } = await source.initialize();
      const { TypeormStore } = requirePeer(peer);
      return new TypeormStore({ cleanupLimit: 2, limitSubquery: false, ttl: 86_400 }).connect(
        manager.getRepository(entity),
      );
    }
    case 'connect-memjs':
      return new (requirePeer(peer)(session))({ servers: [places.memcachedServers], prefix: 'memjs:' });
    case 'connect-memcached':
      return new (requirePeer(peer)(session))({ hosts: [places.memcachedServers], prefix: 'memcached:' });
    default:
      return undefined; // express-session's own MemoryStore
  }
}

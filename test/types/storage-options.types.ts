// Compiled by `npm run typecheck`, never run: a storage has its own options, and no others.
import type { Type } from '@nestjs/common';
import { Cluster, Redis } from 'ioredis';
import { Redis as Valkey } from 'iovalkey';
import { createClient, createClientPool, createCluster } from 'redis';
import { SessionsModule, type SessionBackend, type SessionModuleOptions } from 'nest-sessions';

declare const backend: SessionBackend;
declare const Backend: Type<SessionBackend>;

export const right: SessionModuleOptions[] = [
  {},
  { timeout: 5 },
  { storageType: 'ram', maxSessions: 5, name: 'sid' },
  { maxSessions: 5 },
  { storageType: 'file', storagePath: './sessions', storageTimeout: 5 },
  { storageType: 'file', storagePath: process.env.STORAGE_PATH },
  { storageType: 'postgresql', url: process.env.DATABASE_URL, tableName: 't', createTable: false },
  { storageType: 'memcached', servers: ['a:1', 'b:2'], username: 'u', password: 'p' },
  { storageType: 'redis', url: process.env.REDIS_URL, keyPrefix: 'shop:' },
  { storageType: 'redis', client: createClient() },
  { storageType: 'redis', client: createCluster({ rootNodes: [] }) },
  { storageType: 'redis', client: createClientPool() },
  { storageType: 'redis', client: new Redis() },
  { storageType: 'redis', client: new Cluster([]) },
  { storageType: 'redis', client: new Valkey() },
  { storageType: backend, storageTimeout: 5 },
  { storageType: Backend },
];

export const wrong: SessionModuleOptions[] = [
  // @ts-expect-error no such storage
  { storageType: 'mysql' },
  // @ts-expect-error another storage's option
  { storagePath: './sessions' },
  // @ts-expect-error another storage's option
  { storageType: 'ram', storagePath: './sessions' },
  // @ts-expect-error another storage's option
  { storageType: 'ram', storageTimeout: 5 },
  // @ts-expect-error the folder is missing
  { storageType: 'file' },
  // @ts-expect-error another storage's option
  { storageType: 'file', storagePath: './sessions', maxSessions: 5 },
  // @ts-expect-error another storage's option
  { storageType: 'postgresql', url: 'postgres://host/db', servers: 'a:1' },
  // @ts-expect-error the servers are missing
  { storageType: 'memcached' },
  // @ts-expect-error another storage's option
  { storageType: 'memcached', servers: 'a:1', url: 'postgres://host/db' },
  // @ts-expect-error no client
  { storageType: 'redis', client: 'redis://host' },
  // @ts-expect-error another storage's option
  { storageType: 'redis', url: 'redis://host', servers: 'a:1' },
  // @ts-expect-error another storage's option
  { storageType: backend, maxSessions: 5 },
  // @ts-expect-error a misspelt option
  { storageType: 'ram', timeOut: 5 },
  // @ts-expect-error a value of another type
  { storageType: 'ram', maxSessions: '5' },
];

export const modules = [
  SessionsModule.forRoot({ storageType: 'file', storagePath: './sessions', isGlobal: false }),
  // @ts-expect-error another storage's option
  SessionsModule.forRoot({ storageType: 'file', storagePath: './sessions', maxSessions: 5 }),
  SessionsModule.forRootAsync({ useFactory: () => ({ storageType: 'file', storagePath: './sessions' }) }),
];

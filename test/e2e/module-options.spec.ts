import { Controller, Get, Injectable, Module, type DynamicModule, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  SESSION_BACKEND,
  Session,
  SessionLocking,
  SessionOptionsException,
  SessionsModule,
  SessionStore,
  type SessionModuleOptions,
  type SessionOptionsFactory,
} from 'nest-sessions';
import { RamBackend } from '../../lib/storage/ram/ram.backend.js';
import { ADAPTERS, SETUPS, type AdapterName } from '../support/app.js';
import { Client } from '../support/client.js';
import { newStorage } from '../support/storages.js';

const GOOD: SessionModuleOptions = { name: 'sid', timeout: 5 };
const WRONG = { timeout: -1, name: 'a b', domain: 'x y', colour: 'red', secret: ['hush', ''] };
const PROBLEMS = [/^colour /, /^name /, /^domain /, /^timeout /, /^secret /];

@Injectable()
class OptionsService implements SessionOptionsFactory {
  static options: SessionModuleOptions = GOOD;

  createSessionOptions() {
    return OptionsService.options;
  }
}

@Module({ providers: [OptionsService], exports: [OptionsService] })
class OptionsModule {}

/** Every way to give options. */
const WAYS: Record<string, (options: any, isGlobal?: boolean) => DynamicModule> = {
  forRoot: (options, isGlobal) =>
    SessionsModule.forRoot({ ...options, ...(isGlobal === false && { isGlobal }) }),
  'forRootAsync useFactory': (options, isGlobal = true) =>
    SessionsModule.forRootAsync({ isGlobal, useFactory: async () => options }),
  'forRootAsync useFactory inject': (options, isGlobal = true) => {
    OptionsService.options = options;
    return SessionsModule.forRootAsync({
      isGlobal,
      imports: [OptionsModule],
      inject: [OptionsService],
      useFactory: (service: OptionsService) => service.createSessionOptions(),
    });
  },
  'forRootAsync useClass': (options, isGlobal = true) => {
    OptionsService.options = options;
    return SessionsModule.forRootAsync({ isGlobal, useClass: OptionsService });
  },
  'forRootAsync useExisting': (options, isGlobal = true) => {
    OptionsService.options = options;
    return SessionsModule.forRootAsync({ isGlobal, imports: [OptionsModule], useExisting: OptionsService });
  },
};

@Controller()
class CountController {
  constructor(private readonly sessions: SessionStore) {}

  @Get('count')
  async count(@Session() session: Session) {
    session.set('count', session.get('count', 0) + 1);
    return { count: session.get('count'), stored: await this.sessions.exists(session.id) };
  }
}

/** Uses sessions by decorators alone. */
@Controller('decorated')
class DecoratedController {
  @Get()
  @SessionLocking('explicit')
  get(@Session() session: Session, @Session('count') count: number) {
    session.set('decorated', true);
    return { count, locked: session.locked };
  }
}

@Injectable()
class Greeter {
  constructor(readonly sessions: SessionStore) {}
}

function create(imports: (DynamicModule | Type)[], controllers: Type[], adapter: AdapterName = 'express') {
  class RootModule {}
  const module: DynamicModule = { module: RootModule, imports, controllers };
  const settings = { logger: false as const, abortOnError: false };
  return adapter === 'fastify'
    ? NestFactory.create(module, new FastifyAdapter(), settings)
    : NestFactory.create(module, settings);
}

describe.each(Object.keys(WAYS))('%s', way => {
  it('wrong options: the start fails with one error that lists each problem', async () => {
    const error = await create([WAYS[way]!(WRONG)], [CountController]).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(SessionOptionsException);
    const { problems, message } = error as SessionOptionsException;
    expect(problems).toHaveLength(PROBLEMS.length);
    for (const problem of PROBLEMS) {
      expect(problems).toContainEqual(expect.stringMatching(problem));
    }
    expect(message.split('\n')).toHaveLength(1 + PROBLEMS.length);
    expect(message).not.toContain('hush');
  });

  it.each(SETUPS)('good options are used: $storage, $adapter', async ({ storage, adapter }) => {
    const options = { ...GOOD, ...(await newStorage(storage)) };
    const app = await create([WAYS[way]!(options)], [CountController], adapter);
    await app.listen(0, '127.0.0.1');
    const client = new Client(`http://127.0.0.1:${app.getHttpServer().address().port}`);
    expect((await client.get('/count')).json()).toEqual({ count: 1, stored: false });
    const answer = await client.get('/count');
    expect(answer.json()).toEqual({ count: 2, stored: true });
    expect(answer.setCookies).toEqual([expect.stringMatching(/^sid=[\w-]{43}; Max-Age=(300|299);/)]);
    client.close();
    await app.close();
  });

  it('is global, unless isGlobal is false', async () => {
    @Module({ providers: [Greeter], exports: [Greeter] })
    class OutsideModule {}
    const global = await create([WAYS[way]!(GOOD), OutsideModule], []);
    expect(global.get(Greeter, { strict: false }).sessions).toBeInstanceOf(SessionStore);
    await global.close();
    await expect(create([WAYS[way]!(GOOD, false), OutsideModule], [])).rejects.toThrow(/SessionStore/);
  });

  it.each(ADAPTERS)(
    'isGlobal: false works where it is imported, and by decorators everywhere: %s',
    async adapter => {
      const sessions = WAYS[way]!(GOOD, false);
      @Module({ imports: [sessions], controllers: [CountController], providers: [Greeter] })
      class InsideModule {}
      @Module({ controllers: [DecoratedController] })
      class OutsideModule {}
      const app = await create([InsideModule, OutsideModule], [], adapter);
      await app.listen(0, '127.0.0.1');
      const client = new Client(`http://127.0.0.1:${app.getHttpServer().address().port}`);
      await client.get('/count');
      expect((await client.get('/decorated')).json()).toEqual({ count: 1, locked: false });
      expect(await app.get(Greeter, { strict: false }).sessions.count()).toBe(1);
      client.close();
      await app.close();
    },
  );
});

describe('a factory that goes wrong', () => {
  it.each([null, 'ram', 5])('options that are %s are named as such', async options => {
    await expect(create([WAYS['forRootAsync useFactory']!(options)], [])).rejects.toThrow(
      /the options must be an object, not /,
    );
  });

  it('an error of its own is passed on as it is', async () => {
    const failure = new Error('no configuration');
    const sessions = SessionsModule.forRootAsync({ useFactory: () => Promise.reject(failure) });
    await expect(create([sessions], [])).rejects.toBe(failure);
  });

  it.each(['forRootAsync useFactory', 'forRootAsync useClass', 'forRootAsync useExisting'])(
    '%s that gives undefined is the defaults',
    async way => {
      const app = await create([WAYS[way]!(undefined)], []);
      expect(await app.get(SessionStore).count()).toBe(0);
      await app.close();
    },
  );

  it('isGlobal: undefined is the default', async () => {
    @Module({ providers: [Greeter], exports: [Greeter] })
    class OutsideModule {}
    const app = await create([SessionsModule.forRoot({ isGlobal: undefined }), OutsideModule], []);
    await app.close();
  });

  it('forRoot without options is the defaults', async () => {
    const app = await create([SessionsModule.forRoot()], []);
    expect(await app.get(SessionStore).count()).toBe(0);
    await app.close();
  });
});

describe('options that are not an object literal', () => {
  class Defaults {
    readonly storageType = 'file' as const;
  }
  /** Getters and inherited properties are options like any other. */
  const optionsOf = (storagePath: string): SessionModuleOptions =>
    new (class extends Defaults {
      get storagePath() {
        return storagePath;
      }
    })();

  it.each(Object.keys(WAYS).filter(way => way !== 'forRoot'))(
    '%s: getters and inherited options are used, and checked',
    async way => {
      const folder = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
      const app = await create([WAYS[way]!(optionsOf(folder))], []);
      await app.get(SessionStore).create({ a: 1 });
      expect((await readdir(folder)).some(name => name.length === 2)).toBe(true);
      await app.close();
      await rm(folder, { recursive: true });
      await expect(create([WAYS[way]!(optionsOf(''))], [])).rejects.toThrow(/storagePath is missing/);
    },
  );
});

it('a backend that a test puts in the place of SESSION_BACKEND: the one of the options is not opened', async () => {
  const backend = new RamBackend(5);
  const module = await Test.createTestingModule({
    imports: [SessionsModule.forRoot({ storageType: 'postgresql', url: 'postgres://x@127.0.0.1:1/x' })],
  })
    .overrideProvider(SESSION_BACKEND)
    .useValue(backend)
    .compile();
  await module.get(SessionStore).create({ a: 1 });
  expect(await backend.count()).toBe(1);
  await module.close();
  expect(await backend.count()).toBe(0); // closed
});

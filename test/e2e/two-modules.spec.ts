import { Controller, Get, Module, type DynamicModule, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { describe, expect, it } from 'vitest';
import { Session, SessionsModule, SessionStore } from 'nest-sessions';
import { ADAPTERS, type AdapterName } from '../support/app.js';
import { Client } from '../support/client.js';
import { RecordingLogger } from '../support/recording-logger.js';

type Imports = (DynamicModule | Type | Promise<DynamicModule>)[];

@Controller()
class CountController {
  @Get()
  count(@Session() session: Session) {
    session.set('count', session.get('count', 0) + 1);
    return { count: session.get('count') };
  }
}

/** A module with a name, as an application writes them. */
function moduleNamed(name: string, imports: Imports, more: object = {}): Type {
  const type = { [name]: class {} }[name]!;
  Module({ imports, ...more })(type);
  return type;
}

const forRoot = (timeout = 5, isGlobal?: boolean) =>
  SessionsModule.forRoot({ timeout, cleanFreq: 0, ...(isGlobal === undefined ? {} : { isGlobal }) });
const forRootAsync = (timeout = 6) =>
  SessionsModule.forRootAsync({ useFactory: async () => ({ timeout, cleanFreq: 0 }) });

/** What the application imports, and who are named. */
const TWICE: Record<string, { root: () => Type; importers: string[] }> = {
  'in AppModule, twice': {
    root: () => moduleNamed('AppModule', [forRoot(5), forRoot(6)]),
    importers: ['AppModule', 'AppModule'],
  },
  'by a feature module': {
    root: () => moduleNamed('AppModule', [forRoot(5), moduleNamed('CartModule', [forRoot(6)])]),
    importers: ['AppModule', 'CartModule'],
  },
  'by a feature module, with the same options': {
    root: () => moduleNamed('AppModule', [forRoot(), moduleNamed('CartModule', [forRoot()])]),
    importers: ['AppModule', 'CartModule'],
  },
  'by a nested feature module': {
    root: () =>
      moduleNamed('AppModule', [
        moduleNamed('ShopModule', [moduleNamed('CartModule', [forRoot(6)])]),
        forRoot(5),
      ]),
    importers: ['AppModule', 'CartModule'],
  },
  'by a feature module that two others import': {
    root: () => {
      const cart = moduleNamed('CartModule', [forRoot(6)]);
      const [a, b] = [moduleNamed('AModule', [cart]), moduleNamed('BModule', [cart])];
      return moduleNamed('AppModule', [forRoot(5), a, b]);
    },
    importers: ['AppModule', 'CartModule'],
  },
  'by two feature modules, neither by AppModule': {
    root: () =>
      moduleNamed('AppModule', [moduleNamed('AModule', [forRoot(5)]), moduleNamed('BModule', [forRoot(6)])]),
    importers: ['AModule', 'BModule'],
  },
  'by three': {
    root: () =>
      moduleNamed('AppModule', [
        forRoot(5),
        moduleNamed('AModule', [forRoot(6)]),
        moduleNamed('BModule', [forRoot(7)]),
      ]),
    importers: ['AppModule', 'AModule', 'BModule'],
  },
  'forRoot and forRootAsync': {
    root: () => moduleNamed('AppModule', [forRoot(), moduleNamed('CartModule', [forRootAsync()])]),
    importers: ['AppModule', 'CartModule'],
  },
  'forRootAsync twice': {
    root: () => moduleNamed('AppModule', [forRootAsync(), moduleNamed('CartModule', [forRootAsync(7)])]),
    importers: ['AppModule', 'CartModule'],
  },
  'isGlobal: false, made twice': {
    root: () =>
      moduleNamed('AppModule', [
        moduleNamed('AModule', [forRoot(5, false)]),
        moduleNamed('BModule', [forRoot(6, false)]),
      ]),
    importers: ['AModule', 'BModule'],
  },
  'by the class alone, beside forRoot': {
    root: () => moduleNamed('AppModule', [forRoot(), moduleNamed('CartModule', [SessionsModule])]),
    importers: ['AppModule', 'CartModule'],
  },
};

const SETTINGS = { logger: false as const, abortOnError: false };
const create = (root: Type, adapter: AdapterName) =>
  adapter === 'fastify'
    ? NestFactory.create(root, new FastifyAdapter(), SETTINGS)
    : NestFactory.create(root, SETTINGS);

/** @returns why it does not start */
const failure = (start: Promise<unknown>): Promise<Error> =>
  start.then(
    () => expect.fail('It started'),
    (error: Error) => error,
  );

describe.each(Object.keys(TWICE))('two modules in one application: %s', title => {
  const { root, importers } = TWICE[title]!;

  it.each(ADAPTERS)('the start fails, and names each that imports it: %s', async adapter => {
    const { message } = await failure(create(root(), adapter));
    expect(message).toContain('SessionsModule.forRoot()');
    const [, named] = /imported more than once, by (.*?): import it in AppModule/.exec(message) ?? [];
    expect(named?.split(' and by ').toSorted()).toEqual(importers.toSorted());
  });

  it('the same without HTTP, and in a test', async () => {
    for (const start of [
      NestFactory.createApplicationContext(root(), SETTINGS),
      Test.createTestingModule({ imports: [root()] })
        .setLogger(new RecordingLogger())
        .compile(),
    ]) {
      expect((await failure(start)).message).toContain('imported more than once');
    }
  });
});

it('a module that is imported as the class alone says what to import', async () => {
  const root = moduleNamed('AppModule', [SessionsModule]);
  expect((await failure(NestFactory.create(root, SETTINGS))).message).toMatch(
    /import SessionsModule\.forRoot\(options\) in AppModule/,
  );
});

describe.each(ADAPTERS)('one module, imported in several places: %s', adapter => {
  const SHARED: [string, () => Type][] = [
    [
      'one object with isGlobal: false',
      () => {
        const sessions = forRoot(5, false);
        return moduleNamed('AppModule', [
          moduleNamed('AModule', [sessions], { controllers: [CountController] }),
          moduleNamed('BModule', [sessions]),
          sessions,
        ]);
      },
    ],
    [
      'one object, global',
      () => {
        const sessions = forRoot();
        const feature = moduleNamed('AModule', [sessions], { controllers: [CountController] });
        return moduleNamed('AppModule', [sessions, feature]);
      },
    ],
    [
      'through a module that exports it',
      () => {
        const sessions = forRoot(5, false);
        const common = moduleNamed('CommonModule', [sessions], { exports: [sessions] });
        const feature = moduleNamed('AModule', [common], { controllers: [CountController] });
        return moduleNamed('AppModule', [common, feature]);
      },
    ],
  ];

  it.each(SHARED)('is one: %s', async (_title, root) => {
    const app = await create(root(), adapter);
    await app.listen(0, '127.0.0.1');
    const client = new Client(`http://127.0.0.1:${app.getHttpServer().address().port}`);
    expect([(await client.get('/')).json(), (await client.get('/')).json()]).toEqual([
      { count: 1 },
      { count: 2 },
    ]);
    expect(await app.get(SessionStore, { strict: false }).count()).toBe(1);
    client.close();
    await app.close();
  });

  it('two applications in one process have one each', async () => {
    const apps = [];
    for (const timeout of [5, 6]) {
      const app = await create(
        moduleNamed('AppModule', [forRoot(timeout)], { controllers: [CountController] }),
        adapter,
      );
      await app.listen(0, '127.0.0.1');
      apps.push(app);
    }
    for (const app of apps) {
      const client = new Client(`http://127.0.0.1:${app.getHttpServer().address().port}`);
      expect((await client.get('/')).json()).toEqual({ count: 1 });
      expect(await app.get(SessionStore).count()).toBe(1);
      client.close();
    }
    await Promise.all(apps.map(app => app.close()));
  });
});

import 'reflect-metadata';
import { Controller, Get, Module } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { Session, SESSION_BACKEND, SessionsModule, SessionStore } from 'nest-sessions';

// Globals, which jest and vitest both have.
declare const it: (name: string, test: () => Promise<void>) => void;
declare const expect: (value: unknown) => { toEqual(expected: unknown): void };

@Controller()
class VisitsController {
  // Needs the metadata of types, which each compiler has to emit.
  constructor(private readonly sessions: SessionStore) {}

  @Get()
  async visit(@Session() session: Session) {
    const same = (await this.sessions.current()) === session;
    session.update({ visits: ((session.data as any).visits ?? 0) + 1 } as never);
    return { same, ...session.toJSON() };
  }
}

@Module({ imports: [SessionsModule.forRoot()], controllers: [VisitsController] })
class AppModule {}

it('an application with sessions', async () => {
  const module = await Test.createTestingModule({ imports: [AppModule] }).compile();
  const app = module.createNestApplication();
  await app.listen(0, '127.0.0.1');
  const id = await app.get(SessionStore).create({ visits: 4 } as never);
  const answer = await fetch(await app.getUrl(), { headers: { cookie: `session_id=${id}` } });
  expect(await answer.json()).toEqual({ same: true, visits: 5 });
  await app.close();
});

it('an application whose storage is replaced by overrideProvider(SESSION_BACKEND)', async () => {
  const down = () => Promise.reject(new Error('down'));
  const module = await Test.createTestingModule({ imports: [AppModule] })
    .overrideProvider(SESSION_BACKEND)
    .useValue({ read: down, lock: down, close: async () => {} })
    .compile();
  const app = module.createNestApplication(undefined, { logger: false });
  await app.listen(0, '127.0.0.1');
  const headers = { cookie: `session_id=${'x'.repeat(43)}` };
  expect((await fetch(await app.getUrl(), { headers })).status).toEqual(503);
  await app.close();
});

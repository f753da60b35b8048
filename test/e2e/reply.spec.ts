import {
  Catch,
  Controller,
  Get,
  HttpCode,
  UseFilters,
  type ArgumentsHost,
  type ExceptionFilter,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { rename } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Session, SessionStorageException } from 'nest-sessions';
import { ADAPTERS, startApp, type TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import { RecordingLogger } from '../support/recording-logger.js';

/** What a filter that answers 200, whatever it catches, was given. */
const caught: unknown[] = [];

@Catch()
class PleasedFilter implements ExceptionFilter {
  constructor(private readonly host: HttpAdapterHost) {}

  catch(error: unknown, host: ArgumentsHost): void {
    caught.push(error);
    this.host.httpAdapter.reply(host.switchToHttp().getResponse(), { caught: true }, 200);
  }
}

let breakStorage: () => Promise<void>;

async function changeInVain(session: Session): Promise<void> {
  session.set('mark', 'changed');
  await breakStorage();
}

@Controller()
class ReplyController {
  @Get('begin')
  begin(@Session() session: Session): object {
    session.set('mark', 'begun');
    return {};
  }

  @Get('value')
  async value(@Session() session: Session): Promise<object> {
    await changeInVain(session);
    return {};
  }

  @Get('caught')
  @UseFilters(PleasedFilter)
  async caught(@Session() session: Session): Promise<object> {
    await changeInVain(session);
    return {};
  }

  @Get('thrown')
  @UseFilters(PleasedFilter)
  async thrown(@Session() session: Session): Promise<never> {
    await changeInVain(session);
    throw new Error('the handler failed');
  }

  @Get('teapot')
  @HttpCode(418)
  async teapot(@Session() session: Session): Promise<object> {
    await changeInVain(session);
    return {};
  }
}

describe.each(ADAPTERS)(
  'invariant 3, success means saved: the storage breaks before the reply, %s',
  adapter => {
    let started: TestApp;
    let client: Client;
    let id: string;

    beforeAll(async () => {
      started = await startApp({ adapter, storage: 'file', controllers: [ReplyController] });
      started.app.useLogger(new RecordingLogger());
    });
    afterAll(() => started.close());

    async function ask(path: string) {
      caught.length = 0;
      client = new Client(started.url);
      await client.get('/begin');
      id = (await client.cookie())!;
      const { storagePath } = started.sessions as { storagePath: string };
      breakStorage = () => rename(storagePath, `${storagePath}-away`);
      const answer = await client.get(path);
      await rename(`${storagePath}-away`, storagePath);
      expect((await started.store.get(id))?.data, path).toEqual({ mark: 'begun' });
      return answer;
    }

    it.each(['/value', '/teapot'])('%s is answered 503', async path => {
      const answer = await ask(path);
      expect(answer.status).toBe(503);
      expect(answer.headers['retry-after']).toBeDefined();
      expect(answer.headers['set-cookie']).toBeUndefined();
    });

    it('an exception filter gets the failure, and its answer is the answer', async () => {
      const answer = await ask('/caught');
      expect(caught).toEqual([expect.any(SessionStorageException)]);
      expect([answer.status, answer.json()]).toEqual([200, { caught: true }]);
      expect(answer.headers['set-cookie']).toBeUndefined();
    });

    it('a filter that replies with success, and waits for nothing, is overruled: 503, and nothing is left unhandled', async () => {
      const answer = await ask('/thrown');
      expect(caught).toEqual([new Error('the handler failed')]);
      expect(answer.status).toBe(503);
      expect(answer.json()).toMatchObject({ statusCode: 503 });
    });
  },
);

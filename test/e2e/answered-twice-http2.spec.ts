import { Controller, Get, Module, Param, Res } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { once } from 'node:events';
import { connect, type ClientHttp2Session } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SESSION_BACKEND, SessionsModule, SessionStore, type SessionBackend } from 'nest-sessions';

type Answering = (res: any, note: (what: string, call: () => unknown) => void) => unknown;

const CASES: Record<string, Answering> = {
  'end, end': (res, note) => {
    note('first', () => res.end('a'));
    note('second', () => res.end('b'));
  },
  'end, writeHead': (res, note) => {
    res.end('a');
    note('writeHead', () => res.writeHead(500));
  },
  'end, headers': (res, note) => {
    res.setHeader('x-early', '1');
    res.end('a');
    note('setHeader', () => res.setHeader('x-late', '1'));
    note('removeHeader', () => res.removeHeader('x-early'));
  },
  'write, headers': (res, note) => {
    res.write('a');
    note('writeHead', () => res.writeHead(500));
    note('setHeader', () => res.setHeader('x-late', '1'));
    res.end('b');
  },
  'what an ended answer says of itself': (res, note) => {
    res.end('a');
    note('', () => {
      throw new Error(JSON.stringify([res.headersSent, res.writableEnded, res.statusCode]));
    });
  },
};

let notes: string[] = [];
const note = (what: string, call: () => unknown) => {
  try {
    call();
  } catch (error: any) {
    notes.push(`${what}: ${error.code ?? error.message}`);
  }
};

@Controller()
class TwiceController {
  constructor(private readonly store: SessionStore) {}

  @Get(':how/:name')
  async answer(@Param() { how, name }: any, @Res() reply: any) {
    if (how === 'with') {
      (await this.store.current()).set('changed', Math.random());
    }
    reply.hijack();
    reply.raw.on('error', (error: NodeJS.ErrnoException) => notes.push(`event error ${error.code}`));
    await CASES[name]!(reply.raw, note);
  }
}

@Module({ imports: [SessionsModule.forRoot()], controllers: [TwiceController] })
class AppModule {}

describe('answers after the answer, HTTP/2', () => {
  const create = () =>
    NestFactory.create(AppModule, new FastifyAdapter({ http2: true } as object), { logger: false });
  let app: Awaited<ReturnType<typeof create>>;
  let client: ClientHttp2Session;
  let isBroken = false;
  const warnings: Error[] = [];
  const warn = (warning: Error) => warnings.push(warning);
  beforeAll(async () => {
    app = await create();
    await app.listen(0, '127.0.0.1');
    process.on('warning', warn);
    client = connect(`http://127.0.0.1:${app.getHttpServer().address().port}`);
    // The answer waits for it.
    const backend: SessionBackend = app.get(SESSION_BACKEND);
    const save = backend.create.bind(backend);
    backend.create = async (...args) => {
      await sleep(15);
      if (isBroken) {
        throw new Error('the disk is full');
      }
      return save(...args);
    };
  });
  afterAll(async () => {
    process.off('warning', warn);
    client.close();
    await app.close();
  });

  it('an answer whose session cannot be stored is a 503', async () => {
    isBroken = true;
    const stream = client.request({ ':path': `/with/${encodeURIComponent('end, end')}` });
    const [headers] = await once(stream.resume(), 'response');
    isBroken = false;
    expect(headers).toMatchObject({ ':status': 503, 'retry-after': '1' });
    expect(headers['set-cookie']).toBe(undefined);
    expect(warnings).toEqual([]);
  });

  async function outcome(how: string, name: string) {
    notes = [];
    const stream = client.request({ ':path': `/${how}/${encodeURIComponent(name)}` });
    const [headers] = await once(stream, 'response');
    let body = '';
    for await (const chunk of stream) {
      body += chunk;
    }
    expect(headers['set-cookie'] !== undefined).toBe(how === 'with'); // stored
    const names = Object.keys(headers).filter(
      key => !['set-cookie', 'vary', 'cache-control', 'date'].includes(key),
    );
    return { status: headers[':status'], names, body, notes: [...notes] };
  }

  it.each(Object.keys(CASES))('%s: as without a session', async name => {
    expect(await outcome('with', name)).toEqual(await outcome('without', name));
  });
});

import {
  Catch,
  Controller,
  Get,
  HttpException,
  Param,
  Req,
  Res,
  UseFilters,
  type ArgumentsHost,
  type ExceptionFilter,
  type INestApplication,
} from '@nestjs/common';
import compression from 'compression';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { SESSION_BACKEND, SessionStore, type SessionBackend } from 'nest-sessions';
import { ADAPTERS, type AdapterName } from '../support/app.js';
import { Browser, useServer } from '../support/scripts.js';

/** What a handler does with its answer; what it throws, at whom, is noted. */
type Answering = (res: any, note: (what: string, call: () => unknown) => void) => unknown;

/** On the raw response of Node.js, on both adapters. */
const RAW: Record<string, Answering> = {
  'end, end': (res, note) => {
    note('first', () => res.end('a'));
    note('second', () => res.end('b'));
  },
  'end, end without a body': (res, note) => {
    res.end('a');
    note('second', () => res.end());
  },
  'end, end, with callbacks': (res, note) => {
    res.end('a', (error: unknown) => note('first', () => throwIf(error)));
    res.end('b', (error: unknown) => note('second', () => throwIf(error)));
  },
  'end, write': (res, note) => {
    res.end('a');
    note('write', () => res.write('b'));
  },
  'end, end, of a text that is compressed': (res, note) => {
    res.setHeader('content-type', 'text/plain');
    res.end('a');
    note('second', () => res.end('b'));
    note('write', () => res.write('c'));
  },
  'write, end, write, of a text that is compressed': (res, note) => {
    res.setHeader('content-type', 'text/plain');
    res.write('a');
    res.end('b');
    note('write', () => res.write('c'));
  },
  'end, writeHead': (res, note) => {
    res.end('a');
    note('writeHead', () => res.writeHead(500, { 'x-late': '1' }));
  },
  'end, _implicitHeader': (res, note) => {
    res.end('a');
    note('_implicitHeader', () => res._implicitHeader());
  },
  'end, status': (res, note) => {
    res.end('a');
    note('statusCode', () => (res.statusCode = 500));
    note('statusMessage', () => (res.statusMessage = 'late'));
  },
  'end, headers': (res, note) => {
    res.setHeader('x-early', '1');
    res.end('a');
    note('setHeader', () => res.setHeader('x-late', '1'));
    note('appendHeader', () => res.appendHeader('x-late', '1'));
    note('setHeaders', () => res.setHeaders(new Map([['x-late', '1']])));
    note('removeHeader', () => res.removeHeader('x-early'));
    note('flushHeaders', () => res.flushHeaders());
  },
  'writeHead, writeHead': (res, note) => {
    note('first', () => res.writeHead(201, { 'x-early': '1' }));
    note('second', () => res.writeHead(202));
    note('setHeader', () => res.setHeader('x-late', '1'));
    res.end('a');
  },
  'write, writeHead': (res, note) => {
    res.write('a');
    note('writeHead', () => res.writeHead(500));
    note('statusCode', () => (res.statusCode = 500));
    res.end('b');
    note('end', () => res.end('c'));
  },
  'flushHeaders, status': (res, note) => {
    note('flushHeaders', () => res.flushHeaders());
    note('statusCode', () => (res.statusCode = 500));
    note('setHeader', () => res.setHeader('x-late', '1'));
    res.end('a');
  },
  'end, and again once it is sent': async (res, note) => {
    res.end('a');
    await once(res, 'finish');
    note('end', () => res.end('b'));
    note('setHeader', () => res.setHeader('x-late', '1'));
  },
  'what an ended answer says of itself': (res, note) => {
    res.end('a');
    // Not `finished`: a server that closes would take the answer for sent, and cut its connection.
    for (const name of ['headersSent', 'writableEnded', 'statusCode', 'writable']) {
      note(name, () => throwIf(`${name}: ${res[name]}`));
    }
  },
  'what a begun answer says of itself': (res, note) => {
    res.write('a');
    for (const name of ['headersSent', 'writableEnded', 'finished', 'statusCode', 'writable']) {
      note(name, () => throwIf(`${name}: ${res[name]}`));
    }
    res.end();
  },
};

const EXPRESS: Record<string, Answering> = {
  'send, send': (res, note) => {
    note('first', () => res.send('a'));
    note('second', () => res.status(500).send('b'));
  },
  'json, json': (res, note) => {
    note('first', () => res.json({ a: 1 }));
    note('second', () => res.json({ b: 1 }));
  },
  'send, redirect': (res, note) => {
    res.send('a');
    note('redirect', () => res.redirect('/elsewhere'));
  },
  'redirect, send': (res, note) => {
    res.redirect('/elsewhere');
    note('send', () => res.send('a'));
  },
  'send, cookie': (res, note) => {
    res.send('a');
    note('cookie', () => res.cookie('late', '1'));
  },
  'sendStatus, end': (res, note) => {
    res.sendStatus(202);
    note('end', () => res.end('b'));
  },
  'send, then an exception': res => {
    res.send('a');
    throw new HttpException('late', 500);
  },
};

const FASTIFY: Record<string, Answering> = {
  'send, send': (reply, note) => {
    note('first', () => reply.send('a'));
    note('second', () => reply.code(500).send('b'));
  },
  'send, header': (reply, note) => {
    reply.send('a');
    note('header', () => reply.header('x-late', '1'));
  },
  'redirect, send': (reply, note) => {
    reply.redirect('/elsewhere');
    note('send', () => reply.send('a'));
  },
  'send, then an exception': reply => {
    reply.send('a');
    throw new HttpException('late', 500);
  },
};

const CASES = { raw: RAW, express: EXPRESS, fastify: FASTIFY };

function throwIf(error: unknown): void {
  if (error) {
    throw error;
  }
}

/** Answers, though there may be an answer already. */
@Catch()
class AnsweringFilter implements ExceptionFilter {
  catch(_error: unknown, host: ArgumentsHost) {
    const res = host.switchToHttp().getResponse();
    notes.push('filter');
    note('filter', () => res.status(502).send('the filter’s'));
  }
}

/** What happened in the handler of the last request. */
let notes: string[] = [];
const note = (what: string, call: () => unknown) => {
  try {
    call();
  } catch (error: any) {
    notes.push(`${what}: ${error.code ?? error.message ?? error}`);
  }
};

@Controller()
class TwiceController {
  constructor(private readonly store: SessionStore) {}

  /** @param how `with`: a session is changed before; `without`: none is used */
  @Get(':how/:group/:name')
  answer(@Param() params: any, @Req() req: any, @Res() res: any) {
    return this.run(params, req, res);
  }

  @Get('filter/:how/:group/:name')
  @UseFilters(AnsweringFilter)
  answerWithFilter(@Param() params: any, @Req() req: any, @Res() res: any) {
    return this.run(params, req, res);
  }

  private async run({ how, group, name }: any, _req: unknown, res: any) {
    if (how === 'with') {
      (await this.store.current()).set('changed', Math.random());
    }
    const raw: ServerResponse = res.raw ?? res;
    for (const event of ['finish', 'close', 'error']) {
      raw.on(event, (error?: NodeJS.ErrnoException) => notes.push(`event ${event} ${error?.code ?? ''}`));
    }
    await CASES[group as 'raw'][name]!(group === 'raw' ? raw : res, note);
  }
}

/** Of which nothing is to be the same. */
const OWN_HEADERS = new Set(['set-cookie', 'vary', 'cache-control', 'date', 'etag']);

const environments: [
  string,
  AdapterName,
  { eager?: boolean },
  ((app: INestApplication) => void) | undefined,
][] = [
  ...ADAPTERS.map(adapter => ['', adapter, {}, undefined] as (typeof environments)[number]),
  ['with compression', 'express', {}, app => void app.use(compression({ threshold: 0 }))],
  ['with compression, eager', 'express', { eager: true }, app => void app.use(compression({ threshold: 0 }))],
];

describe.each(environments)('answers after the answer %s, %s', (title, adapter, sessions, prepare) => {
  const server = useServer({ adapter, controllers: [TwiceController], sessions, prepare });
  beforeAll(() => {
    // The answer waits for it.
    const backend: SessionBackend = server.app.get(SESSION_BACKEND);
    for (const name of ['create', 'save'] as const) {
      const work = backend[name].bind(backend) as (...args: unknown[]) => Promise<never>;
      backend[name] = (...args: unknown[]) => sleep(15).then(() => work(...args));
    }
  });

  /** @returns all that the client and the handler saw */
  async function outcome(how: string, prefix: string, group: string, name: string) {
    const browser = new Browser(server.url, await server.store.create({ user: 1 } as never));
    notes = [];
    const path = `${prefix}/${how}/${group}/${encodeURIComponent(name)}`;
    const headers: Record<string, string> = title ? { 'accept-encoding': 'gzip' } : {};
    const { status, body, headers: all } = await browser.get(path, { headers });
    const last = ['event close ', ...(prefix ? ['filter'] : [])];
    await expect.poll(() => notes).toEqual(expect.arrayContaining(last));
    const id = await browser.cookie();
    browser.close();
    const changed = Object.hasOwn((await server.store.get(id!))!.data, 'changed');
    expect(changed).toBe(how === 'with'); // success means saved
    return {
      status,
      body,
      headers: Object.fromEntries(Object.entries(all).filter(([key]) => !OWN_HEADERS.has(key))),
      notes: notes.toSorted(), // the end comes later, as it waits for the save
    };
  }

  for (const group of ['raw', adapter] as const) {
    for (const name of Object.keys(CASES[group])) {
      for (const prefix of ['', ...(name.includes('exception') ? ['/filter'] : [])]) {
        it(`${group}: ${name}${prefix && ', to a filter that answers again'}: as without a session`, async () => {
          const without = await outcome('without', prefix, group, name);
          expect(await outcome('with', prefix, group, name)).toEqual(without);
          expect(without.status).toBeLessThan(500);
        });
      }
    }
  }
});

import { Controller, Get, Param, Req, Res, Session as NestSession } from '@nestjs/common';
import type { ServerResponse } from 'node:http';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { Session, SessionLocking, SkipSession, type ExpressSession } from 'nest-sessions';
import { SessionRuntime } from '../../lib/session/session-runtime.js';
import { Client, type Answer, type RequestOptions } from './client.js';
import { startApp, type TestApp, type TestAppOptions } from './app.js';

/** What a handler does, written where the test is. */
export type Script = (session: Session) => unknown;
export type ScriptRoute = 'run' | 'read' | 'explicit' | 'early' | 'skip' | 'none';
/** As one written for express-session: with `req.session`, the request, and the raw response. */
export type ExpressScript = (session: ExpressSession, req: any, res: ServerResponse) => unknown;
/** `express` returns a value; `express-raw` answers by itself. */
export type ExpressScriptRoute = 'express' | 'express-raw';

const scripts = new Map<string, (...args: any[]) => unknown>();
let lastScript = 0;

/** Runs scripts as handlers, with the session as each route takes it. */
@Controller()
export class ScriptController {
  @Get('run/:script')
  run(@Session() session: Session, @Param('script') script: string) {
    return this.call(script, session);
  }

  @Get('read/:script')
  read(@Session({ readOnly: true }) session: Session, @Param('script') script: string) {
    return this.call(script, session);
  }

  @SessionLocking('explicit')
  @Get('explicit/:script')
  explicit(@Session() session: Session, @Param('script') script: string) {
    return this.call(script, session);
  }

  @SessionLocking('early')
  @Get('early/:script')
  early(@Session() session: Session, @Param('script') script: string) {
    return this.call(script, session);
  }

  @SkipSession()
  @Get('skip/:script')
  skip(@Param('script') script: string, @Req() req: any) {
    return this.call(script, req);
  }

  /** Asks for no session; the script may, by other ways. */
  @Get('none/:script')
  none(@Param('script') script: string, @Req() req: any) {
    return this.call(script, req);
  }

  @Get('express/:script')
  express(@NestSession() session: ExpressSession, @Param('script') script: string, @Req() req: any) {
    return this.call(script, session, req);
  }

  @Get('express-raw/:script')
  async expressRaw(
    @NestSession() session: ExpressSession,
    @Param('script') script: string,
    @Req() req: any,
    @Res() res: any,
  ) {
    await scripts.get(script)!(session, req, res.raw ?? res);
  }

  private async call(script: string, ...args: unknown[]) {
    return { value: await scripts.get(script)!(...args) };
  }
}

/** A client whose requests run scripts. */
export class Browser extends Client {
  /** @param id of a session to go on with */
  constructor(url: string, id?: string) {
    super(url);
    if (id !== undefined) {
      this.adopt(id);
    }
  }

  /** Goes on with the session of that id. */
  adopt(id: string): void {
    this.jar.setCookieSync(`session_id=${id}; Path=/`, this.base);
  }

  /** One request whose handler is the script. */
  run(script: Script, route: ScriptRoute = 'run', options?: RequestOptions): Promise<Answer> {
    return this.call(script, route, options);
  }

  /** What the script returned, as JSON brings it. @throws if the answer was no success */
  value(script: Script, route: ScriptRoute = 'run'): Promise<any> {
    return this.valueFrom(script, route);
  }

  /** So many requests at once, each of which reads `count`, takes its time, and stores one more. @returns the last */
  async countUp(requests: number): Promise<number> {
    await this.value(session => void session.set('count', 0));
    await Promise.all(
      Array.from({ length: requests }, () =>
        this.value(async session => {
          const count: number = session.get('count');
          await new Promise(resolve => setTimeout(resolve, 2));
          session.set('count', count + 1);
        }),
      ),
    );
    return this.value(session => session.get('count'));
  }

  runExpress(script: ExpressScript, route: ExpressScriptRoute = 'express'): Promise<Answer> {
    return this.call(script, route);
  }

  expressValue(script: ExpressScript): Promise<any> {
    return this.valueFrom(script, 'express');
  }

  private async call(
    script: (...args: any[]) => unknown,
    route: string,
    options?: RequestOptions,
  ): Promise<Answer> {
    const name = String(++lastScript);
    scripts.set(name, script);
    try {
      return await this.get(`/${route}/${name}`, options);
    } finally {
      if (!options?.signal) {
        scripts.delete(name); // of an aborted request, the handler may be yet to come
      }
    }
  }

  private async valueFrom(script: (...args: any[]) => unknown, route: string): Promise<any> {
    const answer = await this.call(script, route);
    if (answer.status !== 200) {
      throw new Error(`${answer.status} ${answer.body}`);
    }
    return answer.json().value;
  }
}

/** A server for the tests of a describe, by default one that runs scripts. No test may leave a lock behind. */
export function useServer(options: TestAppOptions): TestApp {
  const server = {} as TestApp;
  beforeAll(async () => {
    Object.assign(server, await startApp({ controllers: [ScriptController], ...options }));
  });
  afterEach(() => expect.poll(() => lockCount(server)).toBe(0));
  afterAll(() => server.close());
  return server;
}

/** Opened once, by one side; the other side waits for it. */
export class Gate {
  open!: () => void;
  readonly opened = new Promise<void>(resolve => {
    this.open = resolve;
  });
}

/** How many sessions the application has locked, or waits for. */
export const lockCount = ({ app }: TestApp): number => app.get(SessionRuntime, { strict: false }).locks.size;

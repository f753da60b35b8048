import { Controller, Get, Param } from '@nestjs/common';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { Session, SessionLocking, SkipSession, type SessionModuleOptions } from 'nest-sessions';
import { SessionManager } from '../../lib/session/session-manager.js';
import { Client, type Answer, type RequestOptions } from './client.js';
import type { TestApp } from './app.js';
import { memcachedServers, postgresqlUrl } from './servers.js';

/** What a handler does, written where the test is. */
export type Script = (session: Session) => unknown;
export type ScriptRoute = 'run' | 'read' | 'explicit' | 'early' | 'skip' | 'none';

const scripts = new Map<string, Script>();
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
  skip(@Param('script') script: string) {
    return this.call(script);
  }

  /** Asks for no session; the script may, by other ways. */
  @Get('none/:script')
  none(@Param('script') script: string) {
    return this.call(script);
  }

  private async call(script: string, session?: Session) {
    return { value: await scripts.get(script)!(session!) };
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
  async run(script: Script, route: ScriptRoute = 'run', options?: RequestOptions): Promise<Answer> {
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

  /** What the script returned, as JSON brings it. @throws if the answer was no success */
  async value(script: Script, route?: ScriptRoute): Promise<any> {
    const answer = await this.run(script, route);
    if (answer.status !== 200) {
      throw new Error(`${answer.status} ${answer.body}`);
    }
    return answer.json().value;
  }
}

export type StorageName = 'ram' | 'file' | 'postgresql' | 'memcached';
export const STORAGES: StorageName[] = ['ram', 'file'];
export const ALL_STORAGES: StorageName[] = [...STORAGES, 'postgresql', 'memcached'];
/** Those that several processes can share. */
export const SHARED_STORAGES = ALL_STORAGES.filter(storage => storage !== 'ram');

/** Gives the options of a storage with nothing in it: a new folder, table or prefix. */
export function useStorages(): (storageType: StorageName) => Promise<SessionModuleOptions> {
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
  });
  afterAll(() => rm(root, { recursive: true, force: true }));
  return async storageType => {
    const name = randomBytes(6).toString('hex');
    switch (storageType) {
      case 'ram':
        return {};
      case 'file':
        return { storageType, storagePath: await mkdtemp(join(root, 'storage-')) };
      case 'postgresql':
        return { storageType, url: await postgresqlUrl(), tableName: `sessions_${name}` };
      case 'memcached':
        return { storageType, servers: await memcachedServers(), keyPrefix: `${name}:` };
    }
  };
}

/** Opened once, by one side; the other side waits for it. */
export class Gate {
  open!: () => void;
  readonly opened = new Promise<void>(resolve => {
    this.open = resolve;
  });
}

/** How many sessions the application has locked, or waits for. */
export const lockCount = ({ app }: TestApp): number => app.get(SessionManager, { strict: false }).locks.size;

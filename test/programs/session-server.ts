import { Controller, Get, Inject, Param, Query } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  Session,
  SESSION_BACKEND,
  SessionDestroyedException,
  SessionLocking,
  SessionStore,
  type SessionBackend,
} from 'nest-sessions';
import { sessionKey } from '../../lib/session/session-id.js';
import { serve } from './serve.js';

/**
 * A server that does to sessions what a test asks for. Environment:
 * - ADAPTER: express (default) or fastify
 * - SESSION_OPTIONS: the session options, as JSON
 *
 * Prints `listening <port>`, and `working <name>` as a handler with a name begins its work: it has read the session
 * and, unless it merges, holds the lock. Prints `busy <key>` when another process is first found to have a lock. `?work` is how many milliseconds that takes; without it, 1 to 20.
 */
const { SESSION_OPTIONS = '{}' } = process.env;

async function work(name?: string, ms = String(1 + Math.random() * 19)): Promise<void> {
  if (name) {
    console.log(`working ${name}`);
  }
  await sleep(Number(ms));
}

const append = (session: Session, entry: string) =>
  session.set('entries', [...session.get('entries', []), entry]);

function tellOfBusy(backend: SessionBackend): void {
  const told = new Set<string>();
  const lock = backend.lock.bind(backend);
  backend.lock = async (key, lease) => {
    const outcome = await lock(key, lease);
    if (outcome === 'busy' && !told.has(key)) {
      told.add(key);
      console.log(`busy ${key}`);
    }
    return outcome;
  };
}

@Controller()
class SessionController {
  constructor(
    private readonly store: SessionStore,
    @Inject(SESSION_BACKEND) private readonly backend: SessionBackend,
  ) {
    tellOfBusy(backend);
  }

  private readonly atWork = new Map<
    string,
    { state: { isOver: boolean; refusals: number }; work: Promise<unknown> }
  >();

  /** What its turn is given. */
  @Get('seen')
  seen(@Session() session: Session) {
    return { ...session.toJSON() };
  }

  @Get('create/:owner')
  async create(@Param('owner') owner: string) {
    return { id: await this.store.create({ entries: [] }, { owner }) };
  }

  /** As applications log in. */
  @Get('log-in/:owner')
  async logIn(@Session() session: Session, @Param('owner') owner: string) {
    await session.regenerate();
    session.owner = owner;
    session.set('entries', []);
  }

  /** @returns also when the lock was there, in milliseconds since 1970 */
  @Get('increment')
  async increment(@Session() session: Session, @Query('work') ms?: string) {
    const startedAt = Date.now();
    const count = session.get('count', 0);
    await work(undefined, ms);
    session.set('count', count + 1);
    return { startedAt };
  }

  /** @returns the data as it was before */
  @Get('append/:name')
  async append(@Session() session: Session, @Param('name') name: string, @Query('work') ms?: string) {
    const before = { ...session.toJSON() };
    await work(name, ms);
    append(session, name);
    return before;
  }

  @SessionLocking('explicit')
  @Get('merge/:name')
  async merge(@Session() session: Session, @Param('name') name: string, @Query('work') ms?: string) {
    session.get('entries');
    await work(name, ms);
    session.set(name, 'kept');
  }

  @Get('regenerate/:name')
  async regenerate(@Session() session: Session, @Param('name') name: string, @Query('work') ms?: string) {
    await work(name, ms);
    await session.regenerate();
    append(session, name);
  }

  /** Goes on only when the session that it has locked is gone. */
  @Get('append-once-gone/:name')
  async appendOnceGone(@Session() session: Session, @Param('name') name: string) {
    console.log(`working ${name}`);
    while (await this.store.exists(session.id)) {
      await sleep(1);
    }
    await work();
    append(session, name);
  }

  /** Counts under its name and saves, again and again; prints `intent` and `saved` with the name and the number. */
  @Get('save-forever/:name')
  async saveForever(@Session() session: Session, @Param('name') name: string): Promise<never> {
    for (let count = 1; ; count++) {
      console.log(`intent ${name} ${count}`);
      await session.set(name, count).save();
      console.log(`saved ${name} ${count}`);
      await work();
    }
  }

  @Get('data')
  data(@Session({ readOnly: true }) session: Session) {
    return session.toJSON();
  }

  /** Whether the session is there: for a request with its cookie, and for the store. */
  @Get('exists/:id')
  async exists(@Session({ readOnly: true }) session: Session, @Param('id') id: string) {
    return { exists: !session.missing || (await this.store.exists(id)) };
  }

  @Get('owned/:owner')
  async owned(@Param('owner') owner: string) {
    return { owned: (await this.store.findByOwner(owner)).length };
  }

  /** This and the next four end a session. @returns whether it still had the id that it was asked for, if that is known */
  @Get('log-out')
  async logOut(@Session() session: Session) {
    const found = !session.isNew;
    await session.destroy();
    return { found };
  }

  @SessionLocking('explicit')
  @Get('log-out-unlocked')
  async logOutUnlocked(@Session() session: Session) {
    await session.destroy();
    return {};
  }

  @Get('destroy/:id')
  async destroy(@Param('id') id: string) {
    return { found: await this.store.destroy(id) };
  }

  @Get('destroy-by-owner/:owner')
  async destroyByOwner(@Param('owner') owner: string) {
    return { found: (await this.store.destroyByOwner(owner)) > 0 };
  }

  /** Makes so many sessions of an owner, which requests of this process then work on and give new ids, until `rest`. */
  @Get('busy/:owner')
  async busy(@Param('owner') owner: string, @Query('sessions') sessions: string) {
    const state = { isOver: false, refusals: 0 };
    const ids = await Promise.all(
      Array.from({ length: Number(sessions) }, () => this.store.create({ entries: [] }, { owner })),
    );
    const work = Promise.all(ids.map((id, index) => this.change(id, index, state)));
    this.atWork.set(owner, { state, work });
    return { ids };
  }

  /** @returns how many of the requests failed, other than by the end of their session */
  @Get('rest/:owner')
  async rest(@Param('owner') owner: string) {
    const { state, work } = this.atWork.get(owner)!;
    this.atWork.delete(owner);
    state.isOver = true;
    await work;
    return { refusals: state.refusals };
  }

  private async change(
    id: string,
    index: number,
    state: { isOver: boolean; refusals: number },
  ): Promise<void> {
    for (let current: string | undefined = id, turn = index; current !== undefined && !state.isOver; turn++) {
      await sleep(0);
      try {
        current = await this.store.update(current, async session => {
          append(session, String(turn));
          if (turn % 3 === 0) {
            await session.regenerate();
          }
          return session.id;
        });
      } catch (error) {
        if (!(error instanceof SessionDestroyedException)) {
          state.refusals++;
          console.log(`refused ${String(error)}`);
        }
        return;
      }
    }
  }

  /** Ends its idle time within 10 ms. */
  @Get('expire/:id')
  async expire(@Param('id') id: string) {
    const ms = Math.ceil(Math.random() * 10);
    const found = await this.backend.touch(sessionKey(id), ms);
    await sleep(ms + 1);
    return { found };
  }

  @Get('sweep')
  async sweep() {
    return { removed: await this.store.cleanUp() };
  }
}

console.log(`listening ${await serve(SessionController, JSON.parse(SESSION_OPTIONS))}`);

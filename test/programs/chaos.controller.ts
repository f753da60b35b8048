import {
  applyDecorators,
  Body,
  Controller,
  HttpCode,
  InternalServerErrorException,
  Post,
  Res,
  Session as NestSession,
} from '@nestjs/common';
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Session, SessionLocking, SessionStore } from 'nest-sessions';
import { ID_DRAWN, type ChaosAnswer, type ChaosOrder, type ChaosSeen } from './chaos-order.js';

const KEY = 'key:';

/** A route that answers 200. */
export const Call = (name: string) => applyDecorators(Post(name), HttpCode(200));

/** Of either adapter. */
interface Reply {
  header(name: string, value: string): unknown;
}

/** The id that a call has asked for, and whom to tell when it is drawn. */
const wanted = new AsyncLocalStorage<{ id: string | undefined; reply?: Reply }>();

/** As the option: inside of a call, the id that it asks for. */
export function generateId(): string {
  const { id, reply } = wanted.getStore() ?? {};
  reply?.header(ID_DRAWN, 'yes');
  return id ?? randomBytes(32).toString('base64url');
}

export const emptyData = (tokens: string[]): Record<string, unknown> => ({
  list: tokens,
  deep: { list: [] },
});

/** Every way to change a session, a call each. */
@Controller()
export class ChaosController {
  constructor(private readonly store: SessionStore) {}

  @Call('create')
  async create(@Session() session: Session, @Body() { tokens, newId, owner }: ChaosOrder) {
    await wanted.run({ id: newId }, () => session.regenerate());
    session.update(emptyData(tokens));
    session.owner = owner;
    return { found: true };
  }

  @Call('store-create')
  async storeCreate(@Body() { tokens, newId, owner }: ChaosOrder) {
    await wanted.run({ id: newId }, () => this.store.create(emptyData(tokens), owner ? { owner } : {}));
    return { found: true };
  }

  @Call('read')
  async read(@Session({ readOnly: true }) session: Session, @Body() { workMs }: ChaosOrder) {
    const found = answer(session);
    await sleep(workMs);
    return found;
  }

  /** Takes the lock and changes nothing. */
  @Call('look')
  async look(@Session() session: Session, @Body() { workMs }: ChaosOrder) {
    const found = answer(session);
    await sleep(workMs);
    return found;
  }

  @Call('set')
  set(@Session() session: Session, @Body() order: ChaosOrder) {
    return change(session, order, ([token]) => append(session, token!));
  }

  @Call('nested')
  nested(@Session() session: Session, @Body() order: ChaosOrder) {
    return change(session, order, ([token]) => push(session, token!));
  }

  /** By `current()`, and with a save before the last change. */
  @Call('save-midway')
  async saveMidway(@Body() order: ChaosOrder) {
    const session = await this.store.current();
    return change(session, order, async ([first, second]) => {
      append(session, first!);
      await session.save();
      await sleep(order.workMs);
      push(session, second!);
    });
  }

  /** Nobody waits for its save. */
  @Call('save-unawaited')
  saveUnawaited(@Session() session: Session, @Body() order: ChaosOrder) {
    return change(session, order, ([token]) => {
      append(session, token!);
      void session.save();
    });
  }

  @Call('release')
  release(@Session() session: Session, @Body() order: ChaosOrder) {
    return change(session, order, async ([token]) => {
      append(session, token!);
      await session.releaseLock();
      await sleep(order.workMs);
    });
  }

  @Call('req-session')
  async reqSession(@NestSession() view: Partial<ChaosValues>, @Body() { tokens, workMs }: ChaosOrder) {
    if (!view.list) {
      return { found: false };
    }
    const seen = seenIn(view as ChaosValues);
    await sleep(workMs);
    view.list = [...view.list, tokens[0]!];
    return { found: true, seen };
  }

  @Call('update')
  async update(@Body() order: ChaosOrder) {
    const changed = await this.store.update(order.id!, session =>
      change(session, order, ([token]) => append(session, token!)),
    );
    return changed ?? { found: false };
  }

  @SessionLocking('explicit')
  @Call('merge')
  merge(@Session() session: Session, @Body() order: ChaosOrder) {
    return change(session, order, ([token]) => session.set(KEY + token, true));
  }

  @SessionLocking('explicit')
  @Call('lock-explicitly')
  async lockExplicitly(@Session() session: Session, @Body() order: ChaosOrder) {
    if (session.isNew) {
      return { found: false };
    }
    await session.acquireLock();
    return change(session, order, async ([token]) => {
      append(session, token!);
      await session.releaseLock();
    });
  }

  @SessionLocking('explicit')
  @Call('touch')
  async touch(@Session() session: Session, @Body() { workMs }: ChaosOrder) {
    const found = answer(session);
    await sleep(workMs);
    await session.touch();
    return found;
  }

  /** What it changes must not be stored. */
  @Call('fail')
  fail(@Session() session: Session, @Body() order: ChaosOrder) {
    return change(session, order, ([token]) => {
      append(session, token!);
      throw new InternalServerErrorException('as asked');
    });
  }

  @Call('regenerate')
  regenerate(
    @Session() session: Session,
    @Body() order: ChaosOrder,
    @Res({ passthrough: true }) reply: Reply,
  ) {
    return change(session, order, async ([token]) => {
      append(session, token!);
      await wanted.run({ id: order.newId, reply }, () => session.regenerate());
    });
  }

  @Call('log-in')
  logIn(@Session() session: Session, @Body() order: ChaosOrder, @Res({ passthrough: true }) reply: Reply) {
    return change(session, order, async ([token]) => {
      await wanted.run({ id: order.newId, reply }, () => session.regenerate());
      session.owner = order.owner;
      push(session, token!);
    });
  }

  @Call('destroy')
  destroy(@Session() session: Session, @Body() order: ChaosOrder) {
    return change(session, order, () => session.destroy());
  }

  @SessionLocking('explicit')
  @Call('destroy-unlocked')
  destroyUnlocked(@Session() session: Session, @Body() order: ChaosOrder) {
    return change(session, order, () => session.destroy());
  }

  @Call('store-destroy')
  async storeDestroy(@Body() { id }: ChaosOrder) {
    return { found: await this.store.destroy(id!) };
  }

  @Call('destroy-by-owner')
  async destroyByOwner(@Body() { owner, except }: ChaosOrder) {
    await this.store.destroyByOwner(owner!, except ? { except } : {});
    return { found: true };
  }

  /** @returns what is left of an owner's sessions */
  @Call('owned')
  async owned(@Body() { owner }: ChaosOrder) {
    return { left: (await this.store.findByOwner(owner!)).length };
  }
}

interface ChaosValues extends Record<string, unknown> {
  list: string[];
  deep: { list: string[] };
}

const valuesOf = (session: Session): ChaosValues => session.data as unknown as ChaosValues;
const append = (session: Session, token: string) =>
  void session.set('list', [...valuesOf(session).list, token]);
const push = (session: Session, token: string) => void valuesOf(session).deep.list.push(token);

/** A copy: what is there goes on changing. */
const seenIn = (values: ChaosValues): ChaosSeen => ({
  list: [...values.list],
  deep: [...values.deep.list],
  keys: Object.keys(values)
    .filter(key => key.startsWith(KEY))
    .map(key => key.slice(KEY.length)),
});

const answer = (session: Session): ChaosAnswer =>
  session.isNew ? { found: false } : { found: true, seen: seenIn(valuesOf(session)) };

async function change(
  session: Session,
  { tokens, workMs, isBlind }: ChaosOrder,
  act: (tokens: string[]) => unknown,
): Promise<ChaosAnswer> {
  const before = answer(session);
  if (before.found || isBlind) {
    await sleep(workMs);
    if (!before.found) {
      session.update(emptyData([]));
    }
    await act(tokens);
  }
  return before;
}

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChaosAnswer, ChaosOrder } from '../programs/chaos-order.js';
import { ID_DRAWN } from '../programs/chaos-order.js';
import { CALLS, hasOwners, type CallKind, type CallName, type Profile } from './calls.js';
import { isAcknowledged, type Call } from './history.js';
import { MAX_TOKENS, type ChaosSession, type Population } from './population.js';
import type { Random } from './random.js';
import type { ServerProcess } from './server-process.js';
import type { World } from './world.js';

/** Milliseconds after which an answer will not come any more. */
const HUNG = 45_000;
/** The share of calls whose client goes away before the answer. */
const ABORTED = 0.03;
/** The share of calls that write also where they find no session. */
const BLIND = 0.05;
/** Milliseconds after an end in which those who were at work in the session are done. */
const LOOK_BACK = 50;
/** How often a storage that fails is asked whether a session is there. */
const MAX_TRIES = 100;
/** The share of sessions that begin outside of a request. */
const BY_STORE = 0.3;
/** The share of `destroyByOwner` that keeps one session. */
const EXCEPTING = 0.3;

/** How a call is made. */
export interface Manner {
  workMs: number;
  /** Milliseconds after which the client goes away. */
  abortMs?: number | undefined;
  isBlind?: boolean;
}

/** One client: calls one after the other, in sessions that it shares with others. */
export class ChaosClient {
  isOver = false;

  constructor(
    private readonly index: number,
    private readonly world: World,
    private readonly population: Population,
    private readonly profile: Profile,
    private readonly random: Random,
  ) {}

  async run(): Promise<void> {
    while (!this.isOver) {
      await this.step();
      await sleep(this.random.between(0, 20));
    }
  }

  /**
   * One call in this session, by a server of one's choice.
   * @param newId that a move asks for
   */
  async call(
    session: ChaosSession,
    name: CallName,
    server: ServerProcess,
    { workMs, abortMs, isBlind = false }: Manner = { workMs: 0 },
    newId = randomBytes(16).toString('hex'),
  ): Promise<Call> {
    const { tokens, midway, effect, byId }: CallKind = CALLS[name];
    const call = this.newCall(name, server, session.currentId);
    call.tokens = Array.from({ length: tokens }, () => session.nextToken());
    if (midway !== undefined) {
      call.midway = midway;
    }
    if (effect) {
      call.effect = effect;
    }
    const id = session.ids[call.id]!;
    const order: ChaosOrder = { tokens: call.tokens, workMs, isBlind, ...(byId && { id }) };
    if (effect === 'move') {
      order.newId = newId;
      call.newId = session.addId(newId);
    }
    if (name === 'log-in') {
      order.owner = session.owner!;
    }
    session.calls.push(call);
    await this.send(call, server, order, byId ? undefined : id, abortMs);
    if (effect === 'move' && call.status === 503 && !call.isIdDrawn) {
      delete call.effect; // it came to nothing before it began to move
    }
    if (name === 'store-destroy' && call.found) {
      call.isSure = true; // it says itself whether there was one
    }
    session.isOwned ||= name === 'log-in' && isAcknowledged(call);
    session.settle(call);
    if (session.isEnded && call.found === false && !session.isGone) {
      await this.search(session, server);
    }
    return call;
  }

  /** What it draws does not depend on what happened, so that a seed replays it. */
  private async step(): Promise<void> {
    const { random, profile, population } = this;
    const place = random.between(0, population.size - 1);
    const drawn = random.weighted(profile.calls);
    const server = this.upServer(random.between(0, this.world.servers.length - 1));
    const workMs = random.chance(profile.slow)
      ? random.between(300, 1500)
      : Math.floor(60 * random.next() ** 4);
    const isAborted = random.chance(ABORTED);
    const abortMs = random.between(0, 60);
    const manner = { workMs, abortMs: isAborted ? abortMs : undefined, isBlind: random.chance(BLIND) };
    const newId = random.id();
    const [share, second] = [random.next(), random.next()];
    const owner = `owner${random.between(1, profile.owners)}`;

    const session = population.at(place);
    if (drawn === 'destroy-by-owner' && hasOwners(this.world.storage)) {
      await this.destroyByOwner(server, owner, second < EXCEPTING);
    } else if (drawn === 'old-id') {
      await this.readOld(server, share, second);
    } else if (session === undefined) {
      const isOwned = share < profile.owned && hasOwners(this.world.storage);
      const kind = second < BY_STORE ? 'store-create' : 'create';
      await this.begin(population.begin(place, newId), kind, server, isOwned ? owner : undefined);
    } else if (session.isBegun) {
      const known = drawn in CALLS ? (drawn as CallName) : 'read';
      const call = await this.call(session, this.fitting(session, known, owner), server, manner, newId);
      if (call.effect === 'end' && session.isEnded) {
        await sleep(LOOK_BACK);
        await this.readId(session, call.id, server);
      }
    }
  }

  /** What is possible in this session: a log-in once, and an end when it is full. */
  private fitting(session: ChaosSession, drawn: CallName, owner: string): CallName {
    if (session.tokens >= MAX_TOKENS) {
      return 'destroy';
    }
    if (drawn !== 'log-in') {
      return drawn;
    }
    if (session.owner !== undefined || !hasOwners(this.world.storage)) {
      return 'regenerate';
    }
    this.population.give(session, owner);
    return drawn;
  }

  private async begin(
    session: ChaosSession,
    kind: 'create' | 'store-create',
    server: ServerProcess,
    owner: string | undefined,
  ): Promise<void> {
    const call = this.newCall(kind, server);
    call.tokens = [session.nextToken()];
    session.calls.push(call);
    const order: ChaosOrder = { tokens: call.tokens, workMs: 0, newId: session.ids[0]! };
    if (owner !== undefined) {
      order.owner = owner;
      this.population.give(session, owner);
    }
    await this.send(call, server, order);
    if (isAcknowledged(call)) {
      session.isBegun = true;
      session.isOwned = owner !== undefined;
    } else {
      this.population.drop(session);
    }
  }

  /** Under an id that a session had, or of one that has ended. */
  private async readOld(server: ServerProcess, share: number, second: number): Promise<void> {
    const { living } = this.population;
    const session =
      share < 0.5 ? living[Math.floor(share * 2 * living.length)] : this.population.endedAt(share * 2 - 1);
    if (!session) {
      return;
    }
    const moves = session.calls.filter(call => call.effect === 'move' && isAcknowledged(call));
    const ids = [0, ...moves.map(({ newId }) => newId!)];
    await this.readId(session, ids[Math.floor(second * ids.length)]!, server);
  }

  /** What is found has no consequence for where the session is looked for. */
  private async readId(session: ChaosSession, id: number, server: ServerProcess): Promise<void> {
    const call = this.newCall('read', server, id);
    session.calls.push(call);
    await this.send(call, server, { tokens: [], workMs: 0 }, session.ids[call.id]);
  }

  /**
   * The session has ended, or is under one of several ids: whether it is anywhere. What is found may be a copy, and is
   * not looked at.
   */
  private async search(session: ChaosSession, server: ServerProcess): Promise<void> {
    for (const id of session.open) {
      for (let tries = 0; ; tries++) {
        const call = this.newCall('read', this.upServer(server.index + tries), id);
        await this.send(
          call,
          this.upServer(server.index + tries),
          { tokens: [], workMs: 0 },
          session.ids[id],
        );
        session.calls.push({ ...call, seen: undefined });
        if (call.status === 200 && call.found === false) {
          break;
        }
        if (call.status === 200 || tries === MAX_TRIES) {
          return;
        }
        await sleep(LOOK_BACK);
      }
    }
    session.isGone = true;
  }

  async destroyByOwner(server: ServerProcess, owner: string, isExcepting: boolean): Promise<Call> {
    const { population } = this;
    const call = this.newCall('destroy-by-owner', server);
    const kept = isExcepting ? population.living.find(session => session.owner === owner) : undefined;
    population.beginEnding(call, owner, session => session !== kept);
    const order = { tokens: [], workMs: 0, owner };
    await this.send(call, server, kept ? { ...order, except: kept.ids[kept.currentId]! } : order);
    population.finishEnding(call);
    return call;
  }

  private newCall(name: string, server: ServerProcess, id = 0): Call {
    const [client, at] = [this.index, this.world.now()];
    return { name, client, server: server.index, at, doneAt: Infinity, id, status: 'pending', tokens: [] };
  }

  /** Sends it, and notes in it what came of it. */
  private async send(
    call: Call,
    server: ServerProcess,
    order: ChaosOrder,
    cookie?: string,
    abortMs?: number,
  ): Promise<void> {
    const answer = await answerOf(server, call.name, order, cookie, abortMs);
    Object.assign(call, answer, { doneAt: this.world.now() });
    this.population.count(String(call.status));
  }

  /** This one, or the next one that is up. */
  private upServer(index: number): ServerProcess {
    const { servers } = this.world;
    const inTurn = servers.map((_, step) => servers[(index + step) % servers.length]!);
    return inTurn.find(({ isUp }) => isUp) ?? inTurn[0]!;
  }
}

async function answerOf(
  server: ServerProcess,
  path: string,
  order: ChaosOrder,
  cookie: string | undefined,
  abortMs: number | undefined,
): Promise<Pick<Call, 'status' | 'found' | 'seen' | 'text' | 'isIdDrawn'>> {
  const end = new AbortController();
  const timer = setTimeout(() => end.abort(), abortMs ?? HUNG);
  try {
    const { status, body, headers } = await server.post(path, order, cookie, end.signal);
    return status === 200
      ? { status, ...(JSON.parse(body) as ChaosAnswer) }
      : { status, text: body, isIdDrawn: ID_DRAWN in headers };
  } catch (error) {
    if (end.signal.aborted) {
      return { status: abortMs === undefined ? 'hung' : 'aborted' };
    }
    return { status: 'cut', text: (error as Error).message };
  } finally {
    clearTimeout(timer);
  }
}

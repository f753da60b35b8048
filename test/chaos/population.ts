import { checkSession, type Problem } from './checker.js';
import { isAcknowledged, isRefused, type Call, type SessionHistory, type Trouble } from './history.js';

/** Sessions that have ended, and are looked for now and then: nothing may bring them back. */
const REMEMBERED = 150;
/** Tokens that a session gets before its clients end it. */
export const MAX_TOKENS = 150;

/** One session, as its clients know it. */
export class ChaosSession implements SessionHistory {
  readonly ids: string[];
  readonly calls: Call[] = [];
  isGone = false;
  /** Its creation was acknowledged. */
  isBegun = false;
  /** No client uses it any more. */
  isEnded = false;
  /** The account that it belongs to, or may belong to. */
  owner: string | undefined;
  /** Whether it does. */
  isOwned = false;
  tokens = 0;
  /** The ids that it may have now: one, and what moves without an answer may have given it, the older ones first. */
  open = [0];

  constructor(
    readonly name: string,
    id: string,
  ) {
    this.ids = [id];
  }

  /** Which id to send. */
  get currentId(): number {
    return this.open[0] ?? 0;
  }

  nextToken(): string {
    return `${this.name}.${++this.tokens}`;
  }

  /** Adds an id that a move asks for. @returns which it is */
  addId(id: string): number {
    return this.ids.push(id) - 1;
  }

  /** What follows from the answer to one of its calls. */
  settle(call: Call): void {
    if (this.isEnded) {
      return;
    }
    if (call.effect === 'move' && isAcknowledged(call)) {
      this.open = [call.newId!];
    } else if (call.effect === 'move' && !isRefused(call)) {
      this.open.push(call.newId!);
    } else if (call.effect === 'end' && isAcknowledged(call) && call.isSure !== false) {
      this.isEnded = true;
    } else if (call.status === 200 && call.found === false) {
      this.close(call.id);
    }
  }

  /** It is not there under this id, and won't be again: it ended, or moved on. */
  private close(id: number): void {
    if (this.calls.some(({ effect, status }) => effect && status === 'pending')) {
      return; // what the next call finds tells more
    }
    // A move that was broken off may leave the session under both its ids. Nobody would know the new one; here it is
    // known, and must not be taken for where the session is.
    const mayBeCopy =
      this.open.length > 2 ||
      (this.open.length > 1 && this.calls.some(call => call.effect === 'end' && !isRefused(call)));
    this.open = this.open.filter(open => open !== id);
    this.isEnded = mayBeCopy || this.open.length === 0;
    this.isGone = this.open.length === 0;
  }
}

/** The sessions of a run: those in use, in places, and those that ended lately. */
export class Population {
  readonly problems: { problem: Problem; session: SessionHistory }[] = [];
  readonly counts = new Map<string, number>();
  private readonly places: (ChaosSession | undefined)[];
  private readonly ended: ChaosSession[] = [];
  /** Of `destroyByOwner` that is under way: who becomes the owner's meanwhile may be hit. */
  private readonly endings = new Map<Call, { owner: string; copies: Map<ChaosSession, Call> }>();
  private lastName = 0;

  constructor(
    size: number,
    private readonly troubles: Trouble[],
  ) {
    this.places = Array.from({ length: size }, () => undefined);
  }

  get size(): number {
    return this.places.length;
  }

  /** How many sessions there were. */
  get total(): number {
    return this.lastName;
  }

  /** Those that begin, and those that are there. */
  get present(): ChaosSession[] {
    return this.places.filter(session => session !== undefined).filter(({ isEnded }) => !isEnded);
  }

  get living(): ChaosSession[] {
    return this.present.filter(({ isBegun }) => isBegun);
  }

  /** One that has ended. @param share from 0 to 1: the oldest to the latest */
  endedAt(share: number): ChaosSession | undefined {
    return this.ended[Math.floor(share * this.ended.length)];
  }

  at(place: number): ChaosSession | undefined {
    const session = this.places[place];
    if (session?.isEnded) {
      this.bury(session);
      return (this.places[place] = undefined);
    }
    return session;
  }

  begin(place: number, id: string): ChaosSession {
    return (this.places[place] = new ChaosSession(`s${++this.lastName}`, id));
  }

  /** A session that did not come to be. */
  drop(session: ChaosSession): void {
    session.isEnded = true;
    this.places[this.places.indexOf(session)] = undefined;
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  /** It becomes an owner's, or may become it. */
  give(session: ChaosSession, owner: string): void {
    session.owner = owner;
    for (const [call, ending] of this.endings) {
      if (ending.owner === owner) {
        this.copyTo(session, call, ending.copies);
      }
    }
  }

  /** `destroyByOwner` begins. @param sure whether it must end this one */
  beginEnding(call: Call, owner: string, sure: (session: ChaosSession) => boolean): void {
    const copies = new Map<ChaosSession, Call>();
    this.endings.set(call, { owner, copies });
    for (const session of this.present.filter(session => session.owner === owner)) {
      this.copyTo(session, call, copies).isSure = session.isOwned && sure(session);
    }
  }

  /** It is done, and `call` says how. */
  finishEnding(call: Call): void {
    for (const [session, copy] of this.endings.get(call)!.copies) {
      Object.assign(copy, { ...call, isSure: copy.isSure });
      session.settle(copy);
    }
    this.endings.delete(call);
  }

  /** The storage loses all that it has, while the task runs. */
  async forget(now: () => number, task: () => Promise<void>): Promise<void> {
    const call = { name: 'the storage forgets', client: -1, server: -1, id: 0, tokens: [] as string[] };
    const begun: Call = { ...call, at: now(), doneAt: Infinity, status: 'pending' };
    const copies = new Map<ChaosSession, Call>();
    for (const session of this.present) {
      this.copyTo(session, begun, copies).isSure = session.isBegun;
    }
    await task();
    this.present
      .filter(session => !copies.has(session))
      .forEach(session => this.copyTo(session, begun, copies));
    for (const [session, copy] of copies) {
      Object.assign(copy, { status: 200, doneAt: now() });
      session.settle(copy);
    }
  }

  /** Checks those in use, as far as they have come. */
  checkLiving(): void {
    this.living.forEach(session => this.check(session));
  }

  /** Checks all that is left. */
  checkAll(): void {
    for (const session of [...this.ended.splice(0), ...this.places]) {
      if (session) {
        this.check(session);
      }
    }
  }

  private copyTo(session: ChaosSession, call: Call, copies: Map<ChaosSession, Call>): Call {
    const copy: Call = { ...call, effect: 'end', isSure: false };
    session.calls.push(copy);
    copies.set(session, copy);
    return copy;
  }

  private bury(session: ChaosSession): void {
    this.check(session);
    this.ended.push(session);
    if (this.ended.length > REMEMBERED) {
      this.check(this.ended.shift()!);
    }
  }

  /** A session is told of once. */
  private check(session: ChaosSession): void {
    if (!this.problems.some(known => known.session === session)) {
      for (const problem of checkSession(session, this.troubles)) {
        this.problems.push({ problem, session });
      }
    }
  }
}

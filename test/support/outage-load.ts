import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { Client, type Answer } from './client.js';
import { until } from './until.js';

/** Milliseconds after the return of a storage's server within which requests must succeed again. */
const BACK_WITHIN = 2000;

/** One request, and what came of it. Times are milliseconds since 1970. */
export interface Seen {
  status: number;
  /** The session's counter, of a success. */
  count: number;
  sentAt: number;
  doneAt: number;
  /** Milliseconds that its handler took of its own. */
  work: number;
  setsCookie: boolean;
  retryAfter: string | undefined;
  /** The session's id, before and after it. */
  sentId: string | undefined;
  id: string | undefined;
}

export interface Outage {
  /** Or stopped. */
  killedAt: number;
  /** Or gone on. */
  returnedAt: number;
}

/** Sends one request after the other, and notes what it is answered. */
export class LoadClient extends Client {
  readonly seen: Seen[] = [];

  get successes(): Seen[] {
    return this.seen.filter(({ status }) => status === 200);
  }

  async count(work = 0): Promise<Answer> {
    return this.request(`/count/${work}`, work);
  }

  async request(path: string, work = 0): Promise<Answer> {
    const sentId = await this.cookie();
    const sentAt = Date.now();
    const answer = await this.get(path);
    this.seen.push({
      status: answer.status,
      count: answer.status === 200 ? answer.json().count : NaN,
      sentAt,
      doneAt: Date.now(),
      work,
      setsCookie: answer.setCookies.length > 0,
      retryAfter: answer.headers['retry-after'],
      sentId,
      id: await this.cookie(),
    });
    return answer;
  }
}

/** Clients that go on whatever they are answered. A request that gets no answer at all rejects `stop()`. */
export class Load {
  /** Each counts in a session of its own; two of them take their time. */
  readonly counters: LoadClient[] = [];
  /** All count in one session. */
  readonly sharers: LoadClient[] = [];
  readonly readers: LoadClient[] = [];
  /** Each request begins a session. */
  readonly beginners: LoadClient[] = [];
  private isOver = false;
  private readonly running: Promise<void>[] = [];

  get all(): LoadClient[] {
    return [...this.counters, ...this.sharers, ...this.readers, ...this.beginners];
  }

  get seen(): Seen[] {
    return this.all.flatMap(({ seen }) => seen);
  }

  static async start(url: string): Promise<Load> {
    const load = new Load();
    for (let index = 0; index < 12; index++) {
      const [from, to] = index < 10 ? [0, 20] : [200, 1000];
      const counter = await load.add(load.counters, url);
      load.run(() => counter.count(random(from, to)));
    }
    const first = await load.add(load.sharers, url);
    const id = await first.cookie();
    for (let index = 0; index < 4; index++) {
      const sharer = index === 0 ? first : await load.add(load.sharers, url, id);
      load.run(() => sharer.count(random(0, 5)));
    }
    const reader = await load.add(load.readers, url, id);
    load.run(() => reader.request('/read'));
    for (let index = 0; index < 3; index++) {
      const looker = await load.add(load.readers, url);
      load.run(() => looker.request('/look'));
    }
    for (let index = 0; index < 2; index++) {
      const beginner = new LoadClient(url);
      load.beginners.push(beginner);
      load.run(async () => {
        await beginner.jar.removeAllCookies();
        return beginner.count();
      });
    }
    return load;
  }

  /** Waits until every client is done with the request in hand. */
  async stop(): Promise<void> {
    this.isOver = true;
    await Promise.all(this.running);
    this.all.forEach(client => client.close());
  }

  /**
   * The service is back within 2 s of the server's return, for each client: its next request succeeds, but for the
   * time that requests take anyway, and none fails any more.
   */
  async isBack({ killedAt, returnedAt }: Outage): Promise<void> {
    const firsts = () =>
      this.all.map(client => client.successes.find(({ sentAt }) => sentAt >= returnedAt) as Seen);
    await until(() => firsts().every(first => first !== undefined), 60_000);
    const usual = this.seen.filter(
      ({ status, sentAt, doneAt }) => status === 200 && sentAt > killedAt - 2000 && doneAt < killedAt,
    );
    const took = firsts().map(({ doneAt, work }) => doneAt - work - returnedAt);
    const limit = BACK_WITHIN + Math.max(...usual.map(({ sentAt, doneAt, work }) => doneAt - work - sentAt));
    expect(Math.max(...took), `milliseconds, by client: ${took}`).toBeLessThanOrEqual(limit);
    await sleep(Math.max(0, returnedAt + BACK_WITHIN + 300 - Date.now()));
    const later = this.seen.filter(({ sentAt }) => sentAt > returnedAt + BACK_WITHIN);
    expect(later.map(({ status }) => status)).not.toContain(503);
  }

  private async add(clients: LoadClient[], url: string, id?: string): Promise<LoadClient> {
    const client = new LoadClient(url);
    if (id === undefined) {
      await client.count();
    } else {
      client.jar.setCookieSync(`session_id=${id}; Path=/`, url);
    }
    clients.push(client);
    return client;
  }

  private run(send: () => Promise<Answer>): void {
    const runs = async () => {
      while (!this.isOver) {
        await send();
        await sleep(random(5, 25));
      }
    };
    const running = runs();
    running.catch(() => undefined); // stop() tells
    this.running.push(running);
  }
}

/** Failures say so: with when to try again, and without a word about the cookie. */
export function expectHonest(seen: Seen[], allowed: number[]): void {
  expect(allowed).toEqual(expect.arrayContaining([...new Set(seen.map(({ status }) => status))]));
  const failed = seen.filter(({ status }) => status !== 200);
  expect(failed.filter(({ setsCookie }) => setsCookie)).toEqual([]);
  expect(failed.filter(({ status, retryAfter }) => status === 503 && !retryAfter)).toEqual([]);
}

/**
 * Of clients that counted in one session: every success counted once, and is there; a failed request may be.
 * @param stored the counter in the end
 */
export function expectKept(clients: LoadClient[], stored: number): void {
  const seen = clients.flatMap(client => client.seen);
  const acknowledged = seen.filter(({ status }) => status === 200).map(({ count }) => count);
  expect(new Set(acknowledged).size).toBe(acknowledged.length);
  clients.forEach(expectRising);
  expect(new Set(seen.map(({ id }) => id)).size).toBe(1);
  expect(stored).toBeGreaterThanOrEqual(Math.max(...acknowledged, acknowledged.length));
  expect(stored).toBeLessThanOrEqual(seen.length);
}

/**
 * Of clients whose sessions a server forgets: no session comes back that was known before it was killed, and the
 * counters are those of the sessions' own requests.
 */
export function expectForgotten(clients: LoadClient[], outages: Outage[]): void {
  const seen = clients.flatMap(client => client.seen);
  const successes = seen.filter(({ status }) => status === 200).sort((a, b) => a.doneAt - b.doneAt);
  const bornAt = new Map<string, number>();
  for (const { id, doneAt } of successes) {
    bornAt.set(id!, bornAt.get(id!) ?? doneAt);
  }
  for (const { killedAt, returnedAt } of outages) {
    const revived = successes.filter(({ sentAt, id }) => sentAt > returnedAt && bornAt.get(id!)! < killedAt);
    expect(revived).toEqual([]);
  }
  for (const [id] of bornAt) {
    const counts = successes.filter(success => success.id === id).map(({ count }) => count);
    expect(new Set(counts).size).toBe(counts.length);
    const requests = seen.filter(({ sentId }) => sentId === id).length + 1;
    expect(Math.max(...counts)).toBeLessThanOrEqual(requests);
  }
  clients.forEach(expectRising);
}

/** As long as its session is the same. */
function expectRising({ successes }: LoadClient): void {
  const falls = successes.filter((success, index) => {
    const before = successes[index - 1];
    return before?.id === success.id && before!.count >= success.count;
  });
  expect(falls).toEqual([]);
}

export const random = (from: number, to: number): number => from + Math.round(Math.random() * (to - from));

import { createRequire } from 'node:module';

const autocannon = createRequire(new URL('../../peers/package.json', import.meta.url))('autocannon');

/** What the load generator, in a process of its own, is asked for as JSON. */
export interface LoadOrder {
  url: string;
  /** One a connection, in turn; none: no cookie is sent. */
  cookies: string[];
  connections: number;
  /** Seconds; or until `amount` requests are answered. */
  duration: number;
  amount?: number;
}

/** What it prints, as JSON. */
export interface LoadResult {
  /** Requests a second. */
  rate: number;
  /** Answers that were no success, timeouts and broken connections. */
  failures: number;
  p99: number;
}

const order = JSON.parse(process.argv[2]!) as LoadOrder;
let next = 0;
const result = await autocannon({
  url: order.url,
  connections: order.connections,
  ...(order.amount === undefined ? { duration: order.duration } : { amount: order.amount }),
  setupClient(client: { setHeaders(headers: Record<string, string>): void }) {
    const cookie = order.cookies[next++ % order.cookies.length];
    if (cookie !== undefined) {
      client.setHeaders({ cookie });
    }
  },
});
const seconds = (new Date(result.finish).getTime() - new Date(result.start).getTime()) / 1000;
console.log(
  JSON.stringify({
    rate: result['2xx'] / seconds,
    failures: result.non2xx + result.errors + result.timeouts,
    p99: result.latency.p99,
  } satisfies LoadResult),
);

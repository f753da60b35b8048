import 'reflect-metadata';
import { subscribe } from 'node:diagnostics_channel';
import { createApp } from './contenders.js';

/** What a server has used so far. */
export interface Usage {
  /** Microseconds of all its threads, in user and system mode. */
  cpu: number;
  /** Those that it began to answer: when a load ends, a few more than the load generator has answers to. */
  requests: number;
}

/** One contender in a process of its own. Arguments: it, and its places, as JSON. Sends its port; then, whenever asked, its usage. */
let requests = 0;
subscribe('http.server.request.start', () => requests++);
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send!({ cpu: user + system, requests } satisfies Usage);
});
// The bench has ended, or failed.
process.on('disconnect', () => process.exit());

const [contender, places] = process.argv.slice(2);
const app = await createApp(JSON.parse(contender!), JSON.parse(places!));
await app.listen(0, '127.0.0.1');
process.send!(app.getHttpServer().address().port);

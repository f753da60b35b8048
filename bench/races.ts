import { get } from 'node:http';
import { startMemcachedServer, startPostgresqlServer } from '../test/support/servers.js';
import { Server } from './bench-server.js';
import { CONTENDERS, type Contender } from './contenders.js';
import { Table } from './results.js';

/** CherryPy's test: clients that each change one session, one request after the other. */
const CLIENTS = 5;
const ROUNDS = 30;
/** Sessions that end while a slow request works on them. */
const LOGOUTS = 100;
/** Milliseconds after which the log-out comes, of the slow request's 100. */
const LOGOUT_AFTER = 30;

const sleep = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));
const times = <T>(count: number, make: (index: number) => Promise<T>) =>
  Promise.all(Array.from({ length: count }, (_, index) => make(index)));

/** One request. @returns its status and its answer */
function send(url: string, cookie: string): Promise<{ status: number; body: any }> {
  return new Promise((resolve, reject) => {
    get(url, { headers: { cookie }, agent: false }, async response => {
      let text = '';
      for await (const chunk of response.setEncoding('utf8')) {
        text += chunk;
      }
      resolve({ status: response.statusCode!, body: text.startsWith('{') ? JSON.parse(text) : undefined });
    }).on('error', reject);
  });
}

/** @returns how many updates a session keeps, the first one included, of 151 */
async function keptUpdates(server: Server): Promise<number> {
  const [cookie] = (await server.seed(1, 10)) as [string];
  await send(`${server.url}/race`, cookie);
  await times(CLIENTS, async () => {
    for (let round = 0; round < ROUNDS; round++) {
      await send(`${server.url}/race`, cookie);
    }
  });
  return (await send(`${server.url}/read`, cookie)).body.visits;
}

/** @returns how many sessions are there again after their log-out */
async function revivedSessions(server: Server): Promise<number> {
  const cookies = await server.seed(LOGOUTS, 10);
  const revived = await times(LOGOUTS, async index => {
    const cookie = cookies[index]!;
    const slow = send(`${server.url}/slow`, cookie);
    await sleep(LOGOUT_AFTER);
    await send(`${server.url}/${server.contender.peer === undefined ? 'logout-now' : 'logout'}`, cookie);
    await slow;
    return (await send(`${server.url}/read`, cookie)).body.name !== undefined;
  });
  return revived.filter(Boolean).length;
}

const contenders = CONTENDERS.filter(({ storage }) => storage !== undefined);
const [postgresql, memcached] = await Promise.all([startPostgresqlServer(), startMemcachedServer()]);
const places = { postgresqlUrl: postgresql.url, memcachedServers: memcached.address };
const expected = CLIENTS * ROUNDS + 1;
const table = new Table('Races');
table.add('storage', 'package', `updates kept of ${expected}`, `sessions revived of ${LOGOUTS}`);
try {
  for (const contender of contenders) {
    await race(contender);
  }
} finally {
  await Promise.all([postgresql.close(), memcached.close()]);
}
table.end();

async function race(contender: Contender): Promise<void> {
  const server = await Server.start(contender, places);
  try {
    const [kept, revived] = [await keptUpdates(server), await revivedSessions(server)];
    table.add(contender.storage, contender.name, kept, revived);
  } finally {
    await server.stop();
  }
}

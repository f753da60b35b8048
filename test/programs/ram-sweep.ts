import { setTimeout as sleep } from 'node:timers/promises';
import { RamBackend } from '../../lib/storage/ram/ram.backend.js';

/**
 * Sweeps RAM with SESSIONS sessions, every other one of them expired, and watches the event loop meanwhile.
 * Prints one line of JSON: how many were `removed` and are `left`, and the longest `stall` in
 * milliseconds: of what a turn of the loop takes, the time that this process itself was at work. A busy machine makes
 * it wait for a processor too, which is no doing of the sweep's.
 */
const sessions = Number(process.env.SESSIONS);
const backend = new RamBackend(sessions);
const data = JSON.stringify({ cart: ['a', 'b', 'c'], flash: 'Welcome' });
for (let i = 0; i < sessions; i++) {
  await backend.create(String(i).padStart(43, 'k'), {
    data,
    owner: `owner-${i % 1000}`,
    ttl: i % 2 ? 1 : 3_600_000,
  });
}
await sleep(100);

const processorTime = () => {
  const { user, system } = process.cpuUsage(); // of all threads: no less than this one's
  return (user + system) / 1000;
};

let stall = 0;
let last = { time: performance.now(), work: processorTime() };
let watching = true;
const watch = () => {
  const now = { time: performance.now(), work: processorTime() };
  stall = Math.max(stall, Math.min(now.time - last.time, now.work - last.work));
  last = now;
  if (watching) {
    setTimeout(watch, 0);
  }
};
watch();
const removed = await backend.cleanUp();
watching = false;
watch();
console.log(JSON.stringify({ removed, left: await backend.count(), stall: Math.round(stall) }));

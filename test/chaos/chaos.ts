import { parseArgs } from 'node:util';
import { buildPrograms } from '../support/build-programs.js';
import type { StorageName } from '../support/storage-names.js';
import { PROFILES, type ProfileName } from './calls.js';
import { keepHistories, runChaos } from './run.js';

const STORAGES = ['ram', 'file', 'postgresql', 'memcached', 'redis'];

const USAGE = `npm run chaos -- [options]
  --storage ${STORAGES.join('|')}   default: file
  --seed <number>                           default: drawn, and printed
  --minutes <number>                        default: 1
  --profile ${Object.keys(PROFILES).join('|')}   default: mixed
  --clients <number>                        default: 24
  --folder <path>                           where the file storage makes its folder`;

/** Stories that are printed; the file has them all. */
const MAX_STORIES = 5;

const { values } = parseArgs({
  options: {
    storage: { type: 'string', default: 'file' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1_000_000)) },
    minutes: { type: 'string', default: '1' },
    profile: { type: 'string', default: 'mixed' },
    clients: { type: 'string', default: '24' },
    folder: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
const numbers = {
  seed: Number(values.seed),
  minutes: Number(values.minutes),
  clients: Number(values.clients),
};
if (
  values.help ||
  !STORAGES.includes(values.storage) ||
  !(values.profile in PROFILES) ||
  !Number.isInteger(numbers.seed) ||
  !(numbers.minutes > 0) ||
  !(numbers.clients > 0)
) {
  console.error(USAGE);
  process.exit(values.help ? 0 : 2);
}

const { storage, profile, folder } = values;
const { seed, minutes, clients } = numbers;
console.log(
  `${storage}, seed ${seed}, ${profile}, ${minutes} min, ${clients} clients, Node.js ${process.version}`,
);
const options = {
  storage: storage as StorageName,
  seed,
  seconds: minutes * 60,
  profile: profile as ProfileName,
  clients,
  folder,
};
const result = await runChaos(options, await buildPrograms());
const { stories, calls, troubles, sessions } = result;
console.log(`${sessions} sessions; answers ${JSON.stringify(calls)}; troubles ${JSON.stringify(troubles)}`);
if (stories.length > 0) {
  stories.slice(0, MAX_STORIES).forEach(story => console.log(`\n${story}`));
  console.log(`\n${stories.length} broken; their histories are in ${keepHistories(options, result)}`);
} else {
  console.log('nothing broken');
}
process.exit(stories.length > 0 ? 1 : 0);

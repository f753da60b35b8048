import type { StorageName } from '../support/storage-names.js';
import type { ProfileName } from './calls.js';

/** A fault that is put into the built package, and the run that catches it. */
export interface Mutant {
  name: string;
  storage: StorageName;
  profile: ProfileName;
  seed: number;
  /** At most. */
  seconds: number;
  patches: Patch[];
}

/** `from`, which `file` of lib/ holds once, becomes `to`. */
interface Patch {
  file: string;
  from: string;
  to: string;
}

const FILE_BACKEND = 'storage/file/file.backend.js';
const FILE_RECORDS = 'storage/file/file-records.js';
const POSTGRESQL = 'storage/postgresql/postgresql.backend.js';
const POSTGRESQL_SQL = 'storage/postgresql/postgresql.sql.js';
const MEMCACHED = 'storage/memcached/memcached.backend.js';
const HELD_LOCK = 'locking/held-lock.js';
const RECORD_HANDLE = 'session/record-handle.js';

const UNLOCK_UNSAVED: Patch = {
  file: HELD_LOCK,
  from: 'saved = await manager.backend.save(',
  to: `saved = Math.random() < 1 / 30
                ? (await manager.backend.unlock(queue.key, lease), true)
                : await manager.backend.save(`,
};

/** What is not stored yet is handed on. */
const HAND_ON_UNSAVED: Patch[] = [
  {
    file: HELD_LOCK,
    from: `        let saved = false;
        try {`,
    to: `        let saved = false;
        if (handOver) {
            this.record = toRecord({ ...write, createdAt: this.record.createdAt });
            void this.end(true);
        }
        try {`,
  },
  {
    file: HELD_LOCK,
    from: 'if (release || !saved) {',
    to: 'if ((release && !handOver) || !saved) {',
  },
];

const UNDO_WITHOUT_ASKING: Patch = {
  file: RECORD_HANDLE,
  from: 'const isLeft = await runtime.backend.read(this.key).then(Boolean, () => undefined);',
  to: 'const isLeft = true;',
};

/**
 * What files said is remembered, with the time by which it is known to be the newest; a touch sets both.
 * @param isSaveRemembered a condition
 */
const rememberFiles = (isSaveRemembered: string): Patch[] => [
  {
    file: FILE_RECORDS,
    from: 'const content = stats.isFile()',
    to: `const known = remembered.get(key);
            if (known?.mtimeMs === stats.mtimeMs) {
                return { record: { ...known.record, expiresAt: Math.round(stats.mtimeMs) } };
            }
            const content = stats.isFile()`,
  },
  {
    file: FILE_RECORDS,
    from: 'return record ? { record } : { torn: true };',
    to: `if (record) {
                remembered.set(key, { mtimeMs: stats.mtimeMs, record });
            }
            return record ? { record } : { torn: true };`,
  },
  {
    file: FILE_RECORDS,
    from: '(utimesSync(this.pathOf(key), expiresAt, expiresAt), true)',
    to: '(utimesSync(this.pathOf(key), expiresAt, expiresAt), mark(key, statSync(this.pathOf(key)).mtimeMs))',
  },
  {
    file: FILE_RECORDS,
    from: 'await rename(made, this.pathOf(key));',
    to: `const startedAt = performance.now();
        const { mtimeMs } = statSync(made);
        await rename(made, this.pathOf(key));
        if (${isSaveRemembered}) {
            const { data, owner, timeout, createdAt } = write;
            remembered.set(key, { mtimeMs, record: { data, owner, timeout, createdAt } });
        }`,
  },
  {
    file: FILE_RECORDS,
    from: 'function writeRecord(',
    to: `const remembered = new Map();
function mark(key, mtimeMs) {
    const known = remembered.get(key);
    if (known) {
        known.mtimeMs = mtimeMs;
    }
    return true;
}
function writeRecord(`,
  },
];

/** The run is bounded to two minutes with its start and its end. */
const SECONDS = 90;

export const MUTANTS: Mutant[] = [
  mutant('no fence', 'file', 'stalls', 1, [
    {
      file: FILE_BACKEND,
      from: 'const made = lock.inside(this.newName());',
      to: 'const made = `${this.scratch}/${this.newName()}`;',
    },
  ]),
  mutant('no fence', 'postgresql', 'stalls', 1, [
    {
      file: POSTGRESQL_SQL,
      from: 'saveAndUnlock: `${SAVE}, lock_token = NULL, locked_until = NULL ${HELD}`',
      to: 'saveAndUnlock: `${SAVE}, lock_token = NULL, locked_until = NULL WHERE key = $1 AND $2::text IS NOT NULL`',
    },
    {
      file: POSTGRESQL_SQL,
      from: 'WHERE key = a_key AND lock_token = a_token AND ${UNEXPIRED} AND ${BOUNDED} RETURNING a_token',
      to: 'WHERE key = a_key RETURNING a_token',
    },
  ]),
  mutant('no version check', 'memcached', 'stalls', 1, [
    { file: MEMCACHED, from: 'if (current?.header.version !== header.version) {', to: 'if (!current) {' },
  ]),
  mutant('unlock without saving, one in 30', 'ram', 'calm', 1, [UNLOCK_UNSAVED]),
  mutant('unlock without saving, one in 30', 'postgresql', 'calm', 1, [UNLOCK_UNSAVED]),
  mutant('upsert in place of update', 'ram', 'log-outs', 1, [
    {
      file: 'storage/ram/ram.backend.js',
      from: `async save(key, write, lease, { unlock }) {
        const entry = this.findLeased(key, lease);
        if (!entry) {
            return false;`,
      to: `async save(key, write, lease, { unlock }) {
        const entry = this.findLeased(key, lease);
        if (!entry) {
            return this.create(key, write);`,
    },
  ]),
  mutant('upsert in place of update', 'file', 'log-outs', 1, [
    {
      file: FILE_BACKEND,
      from: `{ unlock }) {
        if (!this.records.isStored(key)) {
            return false;
        }`,
      to: `{ unlock }) {
        if (!this.records.isStored(key)) {
            return this.create(key, write);
        }`,
    },
  ]),
  mutant('upsert in place of update', 'postgresql', 'log-outs', 1, [
    {
      file: POSTGRESQL,
      from: '? this.saves.run({ key, token, data, owner, timeout, ttl })',
      to: '? this.saves.run({ key, token, data, owner, timeout, ttl }).then(saved => saved || this.create(key, write))',
    },
  ]),
  mutant('upsert in place of update', 'memcached', 'log-outs', 1, [
    {
      file: MEMCACHED,
      from: `            this.freeLater(key, lease);
        }
        return cas !== undefined;`,
      to: `            this.freeLater(key, lease);
        }
        return cas !== undefined || this.create(key, write);`,
    },
  ]),
  mutant('a lock handed on before its save is stored', 'file', 'log-outs', 1, HAND_ON_UNSAVED),
  mutant('a lock handed on before its save is stored', 'postgresql', 'log-outs', 1, HAND_ON_UNSAVED),
  mutant(
    'fault 1: files are remembered, but slow saves are not',
    'file',
    'mixed',
    1,
    rememberFiles('performance.now() - startedAt < 20'),
  ),
  mutant(
    'fault 2: files are remembered, and a touch gives them new marks',
    'file',
    'mixed',
    1,
    rememberFiles('true'),
  ),
  mutant('fault 3: a removal goes on without the lock', 'file', 'log-outs', 1, [
    { file: FILE_BACKEND, from: 'if (!(await lock.claim(mayRob))) {', to: 'if (expiredOnly) {' },
    {
      file: FILE_BACKEND,
      from: "await rename(file, lock.inside('removed'));",
      to: 'await rename(file, `${this.scratch}/${this.newName()}`);',
    },
  ]),
  mutant(
    'fault 6: the lock is freed beside the save, and a renewal takes what is there',
    'memcached',
    'mixed',
    1,
    [
      {
        file: MEMCACHED,
        from: 'const header = toHeader(write, held.header.createdAt);',
        to: `const header = toHeader(write, held.header.createdAt);
        if (unlock) {
            this.freeLater(key, lease);
        }`,
      },
      {
        file: MEMCACHED,
        from: '{ ...held, lockCas });',
        to: '{ ...held, ...item, lockCas });',
      },
      {
        file: MEMCACHED,
        from: 'item !== undefined && own.includes(item.header.version)',
        to: 'item !== undefined',
      },
    ],
  ),
  mutant('fault 9: regenerate undoes without asking', 'postgresql', 'networks', 1, [UNDO_WITHOUT_ASKING]),
  mutant('fault 9: regenerate undoes without asking', 'memcached', 'networks', 1, [UNDO_WITHOUT_ASKING]),
  mutant('fault 12: destroyByOwner looks once', 'file', 'owners', 1, [
    {
      file: FILE_BACKEND,
      from: 'for (let rounds = 0; rounds < 2;) {',
      to: 'for (let rounds = 0; rounds < 1; rounds = 1) {',
    },
  ]),
];

function mutant(
  name: string,
  storage: StorageName,
  profile: ProfileName,
  seed: number,
  patches: Patch[],
): Mutant {
  return { name, storage, profile, seed, seconds: SECONDS, patches };
}

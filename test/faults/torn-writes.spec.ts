import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';
import { sessionKey } from '../../lib/session/session-id.js';
import { SessionRuntime } from '../../lib/session/session-runtime.js';
import { SessionStore } from '../../lib/session/session-store.js';
import { FileBackend } from '../../lib/storage/file/file.backend.js';
import { bodyOf } from '../programs/session-body.js';
import { inLong } from '../support/long.js';
import { startProgram, type Program } from '../support/programs.js';

const ROUNDS = inLong(300, 20);
/** Rounds go on in parallel, each lane with sessions of its own: most of a round is waiting. */
const LANES = 6;
const SESSIONS = 3;
/** Seconds. */
const LEASE_TIME = 1;
/** Milliseconds for clocks: a file's time is the kernel's last tick. */
const MARGIN = 20;
/** A writer is killed during one of so many saves of its first session, at a moment within so many milliseconds. */
const MOST_SAVES = 4;
const SAVE_MS = 10;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
  await new FileBackend(folder).open();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** As a process that has just started sees the storage. */
function freshStore(): SessionStore {
  const options = resolveSessionOptions({});
  return new SessionStore(new SessionRuntime(options, { backend: new FileBackend(folder) }), {
    readIds: () => [],
    bind: () => '',
  });
}

const isBusy = async (key: string): Promise<boolean> => {
  const backend = new FileBackend(folder);
  const lease = { token: randomBytes(16).toString('base64url'), ms: 60_000 };
  const record = await backend.lock(key, lease);
  await backend.unlock(key, lease);
  return record === 'busy';
};

/** The last version that a killed writer printed of a session. */
function lastPrinted(writer: Program, word: 'intent' | 'done', index: number): number | undefined {
  const line = writer.lines.findLast(line => line.startsWith(`${word} ${index} `));
  return line === undefined ? undefined : Number(line.split(' ')[2]);
}

interface Figures {
  rounds: number;
  saves: number;
  /** Saves in flight that were found stored, and not stored. */
  storedUnsaid: number;
  notStored: number;
  /** Locks that the dead writers held. */
  locksLeft: number;
}

class Lane {
  private readonly ids: string[] = [];
  private readonly versions: number[] = [];

  constructor(private readonly figures: Figures) {}

  async run(): Promise<void> {
    for (let index = 0; index < SESSIONS; index++) {
      this.ids.push(await freshStore().create({ version: 0, body: bodyOf(0) }));
      this.versions.push(0);
    }
    let next = this.startWriter();
    while (this.figures.rounds < ROUNDS) {
      this.figures.rounds++;
      const writer = await next;
      await writer.waitForLine(/^ready$/);
      writer.process.stdin!.write('go\n');
      const last = this.versions[0]! + 1 + Math.floor(Math.random() * MOST_SAVES);
      await writer.waitForLine(new RegExp(`^intent 0 ${last}$`));
      await sleep(Math.random() * SAVE_MS);
      await writer.kill();
      const killedAt = Date.now();
      next = this.startWriter();
      await Promise.all(this.ids.map((_, index) => this.check(writer, index, killedAt)));
    }
    await (await next).kill();
  }

  private startWriter(): Promise<Program> {
    const env = { STORAGE_PATH: folder, LEASE_TIME: String(LEASE_TIME), IDS: this.ids.join() };
    return startProgram('writer', env);
  }

  private async check(writer: Program, index: number, killedAt: number): Promise<void> {
    const { figures, versions } = this;
    const id = this.ids[index]!;
    const key = sessionKey(id);
    const before = versions[index]!;
    const done = lastPrinted(writer, 'done', index) ?? before;
    const intent = lastPrinted(writer, 'intent', index) ?? before;

    const data = (await freshStore().get(id))?.data;
    expect([done, intent]).toContain(data?.version);
    expect(data!.body === bodyOf(data!.version), 'the session is whole').toBe(true);
    versions[index] = data!.version;
    figures.saves += done - before;
    if (intent > done) {
      figures[data!.version === intent ? 'storedUnsaid' : 'notStored']++;
    }

    if (await isBusy(key)) {
      figures.locksLeft++;
      await sleep(killedAt + LEASE_TIME * 1000 + MARGIN - Date.now());
      expect(await isBusy(key), 'the lock of the dead process has lapsed').toBe(false);
      expect((await freshStore().get(id))?.data).toEqual(data);
    }
  }
}

describe('invariant 9, crash-safe: file', () => {
  it(
    `after each of ${ROUNDS} SIGKILLs, sessions are whole and locks lapse`,
    { timeout: 300_000 },
    async () => {
      const figures: Figures = { rounds: 0, saves: 0, storedUnsaid: 0, notStored: 0, locksLeft: 0 };
      await Promise.all(Array.from({ length: LANES }, () => new Lane(figures).run()));
      console.log(figures);

      expect(await readdir(folder)).not.toContain('damaged');
      // The kills hit what they were meant to hit.
      expect(figures.rounds).toBe(ROUNDS);
      expect(figures.saves).toBeGreaterThan(ROUNDS);
      expect(figures.notStored).toBeGreaterThan(0);
      expect(figures.locksLeft).toBeGreaterThan(ROUNDS / 10);
    },
  );
});

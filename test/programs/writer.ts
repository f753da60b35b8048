import { createInterface } from 'node:readline';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';
import { SessionRuntime } from '../../lib/session/session-runtime.js';
import { SessionStore } from '../../lib/session/session-store.js';
import { FileBackend } from '../../lib/storage/file/file.backend.js';
import { bodyOf } from './session-body.js';

/**
 * Saves sessions in files, each one over and over, until it is killed. Without Nest, so that it starts fast.
 * Environment: STORAGE_PATH, LEASE_TIME (seconds), IDS (comma-separated), BODY (characters).
 *
 * Prints `ready`, and starts on a line from stdin. Prints `intent <index> <version>` before it stores a
 * version, and `done <index> <version>` once it is stored.
 */
const { STORAGE_PATH = '', LEASE_TIME, IDS = '', BODY } = process.env;
const options = resolveSessionOptions({
  leaseTime: Number(LEASE_TIME),
});
const manager = new SessionRuntime(options, { backend: new FileBackend(STORAGE_PATH) });
const store = new SessionStore(manager, { readIds: () => [], bind: () => '' });

async function writeForever(id: string, index: number): Promise<never> {
  for (;;) {
    const version = await store.update(id, session => {
      const next = session.get('version') + 1;
      console.log(`intent ${index} ${next}`);
      session.update({ version: next, body: bodyOf(next, BODY === undefined ? BODY : Number(BODY)) });
      return next;
    });
    console.log(`done ${index} ${version}`);
  }
}

console.log('ready');
createInterface({ input: process.stdin }).once('line', () => {
  void Promise.all(IDS.split(',').map(writeForever));
});

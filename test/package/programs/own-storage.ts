import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeSessionBackend } from 'nest-sessions/testing';
import { JsonBackend } from './json.backend.js';

describeSessionBackend('json', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sessions-'));
  return {
    clients: [new JsonBackend(folder), new JsonBackend(folder)],
    close: () => rm(folder, { recursive: true }),
  };
});

import { Controller, Get } from '@nestjs/common';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Session } from 'nest-sessions';
import { ADAPTERS, startApp } from '../support/app.js';
import { Client } from '../support/client.js';

@Controller()
class CounterController {
  @Get('count')
  async count(@Session() session: Session) {
    const count = session.get('count', 0);
    await sleep(10);
    session.set('count', count + 1);
    return { count: count + 1 };
  }

  @Get('read')
  read(@Session({ readOnly: true }) session: Session) {
    return { count: session.get('count', 0) };
  }
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

for (const storageType of ['ram', 'file'] as const) {
  for (const adapter of ADAPTERS) {
    describe(`invariant 1, no lost update: ${storageType}, ${adapter}`, () => {
      it("keeps 151 of 151 updates in CherryPy's test", async () => {
        const sessions = storageType === 'file' ? { storageType, storagePath: join(folder, adapter) } : {};
        const { url, close } = await startApp({ adapter, sessions, controllers: [CounterController] });
        const first = new Client(url);
        await first.get('/count');
        const cookie = await first.cookie();
        await Promise.all(
          Array.from({ length: 5 }, async () => {
            const client = new Client(url);
            await client.jar.setCookie(`session_id=${cookie}`, url);
            for (let i = 0; i < 30; i++) {
              expect((await client.get('/count')).status).toBe(200);
            }
            client.close();
          }),
        );
        expect((await first.get('/read')).json()).toEqual({ count: 151 });
        first.close();
        await close();
      });
    });
  }
}

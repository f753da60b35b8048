import * as fc from 'fast-check';
import { deepStrictEqual } from 'node:assert';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { jsonPlusSerializer } from 'nest-sessions';
import { inLong } from '../support/long.js';
import { BACKENDS, type TestStorage } from './backends.js';
import { newKey, newLease, writeOf } from './fixtures.js';
import { COMMANDS, newReal, type Model } from './model.js';
import { jsonData, sessionData } from './values.js';

for (const { name, open } of BACKENDS) {
  describe(`any sequence, any value: ${name}`, () => {
    let storage: TestStorage;
    beforeAll(async () => {
      storage = await open();
    });
    afterAll(() => storage.close());

    it('invariant 7, one behaviour everywhere: two clients see what a plain model says', async () => {
      await fc.assert(
        fc.asyncProperty(fc.commands(COMMANDS, { maxCommands: 25, size: 'max' }), async commands => {
          const fresh = await open();
          try {
            const setup = () => ({ model: new Map() as Model, real: newReal(fresh.clients) });
            await fc.asyncModelRun(setup, commands);
          } finally {
            await fresh.close();
          }
        }),
        { numRuns: inLong(100, 25) },
      );
    });

    it('invariant 10: data comes back as it went in, created or saved', async () => {
      await fc.assert(
        fc.asyncProperty(sessionData, async data => {
          const [one, two] = storage.clients;
          const key = newKey();
          const lease = newLease();
          const text = jsonPlusSerializer.stringify(data);
          await one.create(key, writeOf(text), lease);
          const created = await two.read(key);
          await one.save(key, writeOf('{}'), lease, { unlock: false });
          await one.save(key, writeOf(text), lease, { unlock: true });
          const saved = await two.read(key);
          await one.delete(key);
          expect(created?.data).toBe(text);
          deepStrictEqual(jsonPlusSerializer.parse(created!.data), data);
          deepStrictEqual(jsonPlusSerializer.parse(saved!.data), data);
        }),
        { numRuns: inLong(300, 60) },
      );
    });

    it('invariant 10: clean JSON is stored as clean JSON', async () => {
      await fc.assert(
        fc.asyncProperty(jsonData, async data => {
          const key = newKey();
          await storage.clients[0].create(key, writeOf(jsonPlusSerializer.stringify(data)));
          expect((await storage.clients[1].read(key))?.data).toBe(JSON.stringify(data));
          await storage.clients[0].delete(key);
        }),
        { numRuns: inLong(150, 30) },
      );
    });
  });
}

import { createCipheriv, createDecipheriv, randomBytes, randomInt } from 'node:crypto';
import { deserialize, serialize } from 'node:v8';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  jsonPlusSerializer,
  jsonSerializer,
  type SessionBackend,
  type SessionSerializer,
} from 'nest-sessions';
import { lockCount, Browser, Gate, ScriptController, type Script } from '../support/scripts.js';
import { SETUPS, startApp, type TestApp } from '../support/app.js';
import { countCalls } from '../support/count-calls.js';
import { openBackend } from '../support/storages.js';

const KEY = randomBytes(32);

/** AES-GCM, as applications write it: no two texts of one value are the same. */
function encrypted(inner: SessionSerializer): SessionSerializer {
  return {
    stringify(data) {
      const iv = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', KEY, iv);
      const body = Buffer.concat([cipher.update(inner.stringify(data)), cipher.final()]);
      return Buffer.concat([iv, cipher.getAuthTag(), body]).toString('base64');
    },
    parse(text) {
      const bytes = Buffer.from(text, 'base64');
      const decipher = createDecipheriv('aes-256-gcm', KEY, bytes.subarray(0, 12));
      decipher.setAuthTag(bytes.subarray(12, 28));
      return inner.parse(Buffer.concat([decipher.update(bytes.subarray(28)), decipher.final()]).toString());
    },
  };
}

/** An object of the application's, which comes back as one. */
class Cart {
  constructor(readonly items: string[] = []) {}
}

const revived: SessionSerializer = {
  stringify: data =>
    JSON.stringify(data, (_key, value) => (value instanceof Cart ? { $cart: value.items } : value)),
  parse: text => JSON.parse(text, (_key, value) => (value?.$cart ? new Cart(value.$cart) : value)),
};

const SERIALIZERS: Record<string, SessionSerializer> = {
  'encrypted JSON': encrypted(jsonSerializer),
  'encrypted JSON+': encrypted(jsonPlusSerializer),
  'a time in the text': {
    stringify: data => JSON.stringify({ at: process.hrtime.bigint().toString(), data }),
    parse: text => JSON.parse(text).data,
  },
  'compressed, with salt': {
    stringify: data =>
      deflateRawSync(jsonPlusSerializer.stringify({ salt: randomInt(2 ** 40), data })).toString('base64'),
    parse: text =>
      jsonPlusSerializer.parse(inflateRawSync(Buffer.from(text, 'base64')).toString()).data as any,
  },
  'keys in any order': {
    stringify: data =>
      JSON.stringify(Object.fromEntries(Object.entries(data).sort(() => Math.random() - 0.5))),
    parse: text => JSON.parse(text),
  },
  v8: {
    stringify: data => serialize(data).toString('base64'),
    parse: text => deserialize(Buffer.from(text, 'base64')),
  },
  'classes that come back': revived,
};

/** What JSON keeps, and what takes another shape in it. */
const DATA = { user: { id: 7, roles: ['a', 'b'], at: new Date(0) }, tags: new Set(['x']), gone: undefined };

describe.each(SETUPS)(
  'serializers whose text differs each time, or whose objects are their own: $storage, $adapter',
  ({ storage, adapter }) => {
    describe.each(Object.keys(SERIALIZERS))('%s', name => {
      let server: TestApp;
      let inner: SessionBackend;
      let calls: string[];

      beforeAll(async () => {
        inner = await openBackend(storage);
        const counted = countCalls(inner);
        calls = counted.calls;
        server = await startApp({
          adapter,
          controllers: [ScriptController],
          sessions: { storageType: counted.backend, serializer: SERIALIZERS[name]! },
        });
      });
      afterAll(async () => {
        await server.close();
        await inner.close();
      });

      const start = async (data: object = DATA) => {
        const browser = new Browser(server.url);
        const cart = name.startsWith('classes') ? { cart: new Cart(['apple']) } : {};
        await browser.value(session => void session.update({ ...data, ...cart }));
        await expect.poll(() => lockCount(server)).toBe(0);
        calls.length = 0;
        return browser;
      };
      const writes = () => calls.filter(call => call === 'save' || call === 'create').length;

      it.each<[string, Script]>([
        ['nothing', () => 0],
        ['a read', session => session.get('user').roles.length],
        ['a change to the same', session => void session.set('n', session.get('n'))],
        ['a change and back', session => void session.set('user', structuredClone(session.get('user')))],
      ])('unchanged is unchanged: %s', async (title, script) => {
        const browser = await start({ ...DATA, n: 1 });
        for (const route of ['run', 'read', 'explicit', 'early'] as const) {
          if (route !== 'read' || !title.startsWith('a change')) {
            await browser.value(script, route);
          }
        }
        await expect.poll(() => lockCount(server)).toBe(0);
        expect(writes()).toBe(0);
      });

      it('changed is changed, once', async () => {
        const browser = await start();
        await browser.value(session => void session.get('user').roles.push('c'));
        expect(writes()).toBe(1);
        expect(await browser.value(session => session.get('user').roles)).toEqual(['a', 'b', 'c']);
      });

      it('no lost update: a read-only look first, then a change, while another changes something else', async () => {
        const browser = await start();
        const looked = new Gate();
        const changed = new Gate();
        const slow = browser.value(async () => {
          const view = await server.store.current({ readOnly: true });
          const before = view.get('user').id;
          looked.open();
          await changed.opened;
          const session = await server.store.current();
          session.set('slow', before);
        }, 'none');
        await looked.opened;
        await browser.value(session => void session.update({ fast: 1, user: { id: 8 } }));
        changed.open();
        await slow;
        const left = await browser.value(session => session.toJSON());
        expect(left).toMatchObject({ slow: 7, fast: 1, user: { id: 8 } });
      });

      it('no lost update: merged key by key without the lock, also what only one of them touched', async () => {
        const browser = await start();
        const read = new Gate();
        const changed = new Gate();
        const slow = browser.value(async session => {
          session.set('slow', session.get('user').id);
          read.open();
          await changed.opened;
        }, 'explicit');
        await read.opened;
        await browser.value(session => {
          session.update({ fast: 1, user: { id: 8 } });
          if (session.has('cart')) {
            session.get('cart').items.push('pear');
          }
        });
        changed.open();
        await slow;
        const left = await browser.value(session => session.toJSON());
        expect(left).toMatchObject({ slow: 7, fast: 1, user: { id: 8 } });
        expect(left.cart?.items ?? ['apple', 'pear']).toEqual(['apple', 'pear']);
      });
    });
  },
);

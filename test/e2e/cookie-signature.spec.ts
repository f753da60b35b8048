import { Controller, Get } from '@nestjs/common';
import { unsign } from 'cookie-signature';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Session, type SessionBackend } from 'nest-sessions';
import { SETUPS, startApp, type TestApp } from '../support/app.js';
import { sendRaw } from '../support/client.js';
import { sessionCookie } from '../support/set-cookies.js';
import { openBackend } from '../support/storages.js';

@Controller()
class SignedController {
  @Get('write')
  write(@Session() session: Session) {
    session.set('seen', true);
    return { id: session.id, isNew: session.isNew, originalId: session.originalId };
  }

  @Get('look')
  look(@Session() session: Session) {
    return { id: session.id, isNew: session.isNew, originalId: session.originalId };
  }
}

describe.each(SETUPS)('signed cookies: $storage, $adapter', ({ storage, adapter }) => {
  let backend: SessionBackend;
  let apps: TestApp[];

  beforeEach(async () => {
    backend = await openBackend(storage);
    apps = [];
  });
  afterEach(async () => {
    await Promise.all(apps.map(app => app.close()));
    await backend.close();
  });

  /** One more process of the same application, with its own idea of the secrets. */
  const start = async (secret?: string | string[]) => {
    const sessions = { storageType: backend, ...(secret !== undefined && { secret }) };
    const app = await startApp({ adapter, sessions, controllers: [SignedController] });
    apps.push(app);
    return app.url;
  };
  const send = async (url: string, path: string, value?: string) => {
    const answer = await sendRaw(url + path, { headers: value ? { cookie: `session_id=${value}` } : {} });
    expect(answer.status).toBe(200);
    return { ...answer.json(), value: sessionCookie(answer)?.value };
  };
  /** Who signed the cookie's value, and for which id. */
  const signedBy = (secret: string, value: string) => unsign(decodeURIComponent(value).slice(2), secret);

  it('carry the id and the signature of the first secret', async () => {
    const { id, value } = await send(await start(['first', 'second']), '/write');
    expect(signedBy('first', value)).toBe(id);
    expect(signedBy('second', value)).toBe(false);
  });

  it('secrets rotate: the old one is accepted and replaced, then it can go', async () => {
    const old = await send(await start('old'), '/write');
    const both = await start(['new', 'old']);
    const rotated = await send(both, '/look', old.value);
    expect(rotated).toMatchObject({ id: old.id, isNew: false });
    expect(signedBy('new', rotated.value)).toBe(old.id);
    const onlyNew = await start('new');
    expect(await send(onlyNew, '/look', rotated.value)).toMatchObject({ id: old.id, isNew: false });
    const refused = await send(onlyNew, '/look', old.value);
    expect(refused).toMatchObject({ isNew: true, value: undefined });
    expect(refused).not.toHaveProperty('originalId');
    expect(refused.id).not.toBe(old.id);
  });

  it('a cookie that was tampered with, anywhere, is none', async () => {
    const url = await start('secret');
    const { value } = await send(url, '/write');
    const text = decodeURIComponent(value);
    for (let at = 0; at < text.length; at++) {
      const other = text[at] === 'A' ? 'B' : 'A';
      const tampered = encodeURIComponent(text.slice(0, at) + other + text.slice(at + 1));
      const answer = await send(url, '/look', tampered);
      expect(answer, `character ${at} of ${text.length}`).toMatchObject({ isNew: true });
      expect(answer).not.toHaveProperty('originalId');
    }
    for (const cut of [
      text.slice(0, -1),
      text.slice(1),
      `${text}A`,
      text.split('.')[0]!,
      `${text}.${text}`,
    ]) {
      expect(await send(url, '/look', encodeURIComponent(cut))).toMatchObject({ isNew: true });
    }
    expect(await send(url, '/look', value)).toMatchObject({ isNew: false });
  });

  it('an unsigned cookie is none where signed ones are wanted, and the other way round', async () => {
    const signing = await start('secret');
    const plain = await start();
    const signed = await send(signing, '/write');
    const unsigned = await send(plain, '/write');
    expect(unsigned.value).toBe(unsigned.id);
    expect(await send(signing, '/look', unsigned.value)).toMatchObject({ isNew: true });
    expect(await send(plain, '/look', signed.value)).toMatchObject({ isNew: true });
    expect(await send(plain, '/look', signed.id)).toMatchObject({ isNew: false });
  });
});

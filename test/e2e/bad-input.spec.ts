import { Controller, Get } from '@nestjs/common';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Session, SessionStore, type SessionBackend } from 'nest-sessions';
import { SETUPS, startApp, type TestApp } from '../support/app.js';
import { sendRaw } from '../support/client.js';
import { countCalls } from '../support/count-calls.js';
import { RecordingLogger } from '../support/recording-logger.js';
import { sessionCookie } from '../support/set-cookies.js';
import { openBackend } from '../support/storages.js';

@Controller()
class InputController {
  constructor(private readonly sessions: SessionStore) {}

  @Get('look')
  look(@Session() session: Session) {
    const { isNew, missing, originalId = null, size } = session;
    return { isNew, missing, originalId, size };
  }

  @Get('peek')
  peek(@Session({ readOnly: true }) session: Session) {
    return this.look(session);
  }

  @Get('handshake')
  async handshake() {
    return { found: (await this.sessions.fromRequest({ headers: { cookie: cookieAtHand } })) ?? null };
  }

  @Get('write')
  write(@Session() session: Session) {
    session.set('seen', true);
    return { id: session.id, isNew: session.isNew };
  }
}

/** For `fromRequest`, which gets its headers from elsewhere. */
let cookieAtHand = '';

const A = 'a'.repeat(43);
const SIGNATURE = 'A'.repeat(43);

/** `real` is the cookie of a stored session, as name=value. */
type CookieCase = [title: string, cookie: (real: string) => string];

/** Other cookies than the session's. */
const ABSENT: CookieCase[] = [
  ['empty', () => ''],
  ['only separators', () => ';; ;,='],
  ['a name alone', () => 'session_id'],
  ['another case of the name', real => real.replace('session_id', 'Session_Id')],
  ['a name that ends alike', real => `x${real}`],
  ['a name that begins alike', real => real.replace('session_id', 'session_id2')],
  ['inside another value', real => `other=${real}`],
  ['an array', real => real.replace('session_id', 'session_id[]')],
  ['__proto__', real => `__proto__=${real.split('=')[1]}`],
  ['8 KiB of names that begin alike', () => 'session_id_'.repeat(744)],
];

/** No ids, with signatures or without. */
const ALWAYS_BAD: CookieCase[] = [
  ['an empty value', () => 'session_id='],
  ['an empty quoted value', () => 'session_id=""'],
  ['an open quote', () => 'session_id="'],
  ['one character short', real => real.slice(0, -1)],
  ['one character long', real => `${real}a`],
  ['a space inside', real => `${real.slice(0, 20)} ${real.slice(20)}`],
  ['a trailing comma', real => `${real},`],
  ['a way to a file', () => `session_id=../../../../etc/passwd${'/x'.repeat(10)}`],
  ['a zero byte', () => `session_id=${'a'.repeat(42)}%00`],
  ['an object', () => 'session_id={"$type":"Date"}'],
  ['a bad escape', () => 'session_id=%E0%A4%A'],
  ['a lone percent sign', () => `session_id=${'%'.repeat(43)}`],
  ['escapes of bytes that are no UTF-8', () => `session_id=${'%FF'.repeat(43)}`],
  ['8 KiB', () => `session_id=${'a'.repeat(8192)}`],
  ['8 KiB of escapes', () => `session_id=${'%41'.repeat(2730)}`],
  ['8 KiB of cookies', () => 'session_id=x; '.repeat(585)],
  ['43 characters beyond ASCII', () => `session_id=${'\u00e9'.repeat(43)}`],
  ['UTF-8 bytes', () => `session_id=${Buffer.from('\u{1f36a}'.repeat(11)).toString('latin1')}`],
];

const BAD_UNSIGNED: CookieCase[] = [
  ['signed where none are', real => real.replace('=', '=s%3A') + `.${SIGNATURE}`],
  ['escaped where nothing needs it', () => `session_id=${'%61'.repeat(43)}`],
];

const BAD_SIGNED: CookieCase[] = [
  ['no signature', real => `session_id=${idOf(real)}`],
  ['an empty signature', real => `session_id=s%3A${idOf(real)}.`],
  ['no mark of a signature', real => real.replace('s%3A', '')],
  ["another's signature", real => `session_id=s%3A${idOf(real)}.${SIGNATURE}`],
  ["another's id", real => real.replace(idOf(real), A)],
  ['a mark alone', () => 'session_id=s%3A'],
  ['a dot alone', () => 'session_id=s%3A.'],
  ['a signature cut by an escape', real => `${real}%`],
  ['escaped twice', real => real.replaceAll('%', '%25')],
];

const idOf = (signed: string): string => /s%3A(.*)\./.exec(signed)![1]!;

for (const { storage, adapter } of SETUPS) {
  describe.each([
    { secret: undefined, cases: [...ALWAYS_BAD, ...BAD_UNSIGNED] },
    { secret: ['new', 'old'], cases: [...ALWAYS_BAD, ...BAD_SIGNED] },
  ])(
    `invariant 8, a bad cookie costs nothing: ${storage}, ${adapter}, secret $secret`,
    ({ secret, cases }) => {
      const logger = new RecordingLogger();
      let backend: SessionBackend;
      let calls: string[];
      let started: TestApp;
      let real: string;
      const send = (path: string, cookie: string) => sendRaw(started.url + path, { headers: { cookie } });

      beforeAll(async () => {
        backend = await openBackend(storage);
        const counted = countCalls(backend);
        ({ calls } = counted);
        started = await startApp({
          adapter,
          sessions: { storageType: counted.backend, debug: true, ...(secret && { secret }) },
          controllers: [InputController],
          prepare: app => app.useLogger(logger),
        });
        real = sessionCookie(await sendRaw(`${started.url}/write`))!.cookieString();
      });
      beforeEach(() => {
        calls.length = 0;
        logger.forget();
      });
      afterAll(async () => {
        await started.close();
        await backend.close();
      });

      it.each([
        ...ABSENT.map(([title, cookie]) => ({ title, cookie, missing: false })),
        ...cases.map(([title, cookie]) => ({ title, cookie, missing: true })),
      ])('$title', async ({ cookie, missing }) => {
        const value = cookie(real);
        for (const path of ['/look', '/peek']) {
          const answer = await send(path, value);
          expect(answer.status).toBe(200);
          expect(answer.json()).toEqual({ isNew: true, missing, originalId: null, size: 0 });
          expect(answer.setCookies).toEqual([]);
        }
        cookieAtHand = value;
        expect((await send('/handshake', value)).json()).toEqual({ found: null });
        expect(calls).toEqual([]);
        expect(logger.aboveDebug).toEqual([]);
      });

      it('the client of a bad cookie can start a session', async () => {
        const answer = await send('/write', 'session_id=%E0%A4%A');
        expect(answer.json()).toMatchObject({ isNew: true });
        expect(sessionCookie(answer)!.value).toContain(answer.json().id);
        expect(calls).toEqual(['create']);
      });

      it('good ones next to anything are used, so the cases above can fail', async () => {
        for (const cookie of [
          real,
          `a=1; ${real}; b=2`,
          `session_id2=${A};${real}`,
          real.replace(/=(.*)/, '="$1"'),
        ]) {
          expect((await send('/look', cookie)).json()).toMatchObject({ isNew: false, size: 1 });
        }
        expect(calls).toContain('lock');
        expect(logger.aboveDebug).toEqual([]);
        expect(logger.debugged.join()).toContain('lock');
      });
    },
  );
}

import { Controller, Get, Query, Res } from '@nestjs/common';
import { describe, expect, it } from 'vitest';
import { Session } from 'nest-sessions';
import { SETUPS } from '../support/app.js';
import { sendRaw } from '../support/client.js';
import { useServer } from '../support/scripts.js';
import { setCookies } from '../support/set-cookies.js';

type Reply = { header(name: string, value: unknown): void };

/** What handlers do the same way on both adapters: `?set=name:value` headers next to the session's. */
@Controller()
class HeaderController {
  @Get('write')
  write(@Session() session: Session, @Res({ passthrough: true }) res: Reply, @Query('set') set?: string) {
    session.set('seen', true);
    setHeaders(res, set);
    return {};
  }

  @Get('untouched')
  untouched(@Res({ passthrough: true }) res: Reply, @Query('set') set?: string) {
    setHeaders(res, set);
    return {};
  }

  @Get('fresh')
  fresh(@Session() session: Session) {
    return { isNew: session.isNew };
  }

  @Get('regenerate')
  async regenerate(@Session() session: Session, @Res({ passthrough: true }) res: Reply) {
    res.header('Set-Cookie', ['before=1; Path=/']);
    session.set('seen', true);
    await session.save();
    await session.regenerate();
    await session.regenerate();
    return { id: session.id };
  }

  @Get('own-cookie')
  ownCookie(@Session() session: Session, @Res({ passthrough: true }) res: Reply) {
    session.set('seen', true);
    res.header('Set-Cookie', ['session_id=mine; Path=/', 'session_id2=2', 'xsession_id=3']);
    return { id: session.id };
  }
}

/** Each adapter's own ways to set cookies. */
@Controller()
class ExpressController {
  @Get('own-ways')
  ownWays(@Session() session: Session, @Res({ passthrough: true }) res: any) {
    session.set('seen', true);
    res.cookie('one', '1', { path: '/a', httpOnly: true });
    res.append('Set-Cookie', 'two=2; Path=/b');
    res.cookie('three', 'a b');
    return {};
  }
}

@Controller()
class FastifyController {
  @Get('own-ways')
  ownWays(@Session() session: Session, @Res({ passthrough: true }) reply: any) {
    session.set('seen', true);
    reply.header('set-cookie', 'one=1; Path=/a; HttpOnly');
    reply.header('set-cookie', ['two=2; Path=/b', `three=${encodeURIComponent('a b')}`]);
    return {};
  }
}

const CONTROLLERS = { express: ExpressController, fastify: FastifyController };

function setHeaders(res: Reply, set = ''): void {
  for (const header of set.split('|').filter(Boolean)) {
    const [name, value] = header.split('=>');
    res.header(name!, value);
  }
}

const VARY: [app: string | undefined, sent: string][] = [
  [undefined, 'Cookie'],
  ['Accept-Encoding', 'Accept-Encoding, Cookie'],
  ['Origin, Accept', 'Origin, Accept, Cookie'],
  ['Cookie', 'Cookie'],
  ['accept, cookie', 'accept, cookie'],
  ['X-Cookie', 'X-Cookie, Cookie'],
  ['*', '*'],
];
const CACHE_CONTROL: [app: string | undefined, sent: string][] = [
  [undefined, 'no-cache="Set-Cookie"'],
  ['no-store', 'no-store'],
  ['private, max-age=60', 'private, max-age=60'],
];

describe.each(SETUPS)("headers next to the session's: $storage, $adapter", setup => {
  const server = useServer({ ...setup, controllers: [HeaderController, CONTROLLERS[setup.adapter]] });
  const send = (path: string, set?: string) =>
    sendRaw(server.url + path + (set ? `?set=${encodeURIComponent(set)}` : ''));
  const pairs = async (path: string) =>
    setCookies(await send(path)).map(({ key, value }) => (key === 'session_id' ? key : `${key}=${value}`));

  it("the application's cookies stay as they are, ours comes once", async () => {
    expect(await pairs('/own-ways')).toEqual(
      expect.arrayContaining(['one=1', 'two=2', 'three=a%20b', 'session_id']),
    );
    const cookies = setCookies(await send('/own-ways'));
    expect(cookies).toHaveLength(4);
    expect(cookies.find(({ key }) => key === 'one')).toMatchObject({ path: '/a', httpOnly: true });
    expect(cookies.find(({ key }) => key === 'two')).toMatchObject({ path: '/b', httpOnly: false });
  });

  it('cookies with alike names stay; one that takes our name does not', async () => {
    const answer = await send('/own-cookie');
    const cookies = setCookies(answer).map(({ key, value }) => [key, value]);
    expect(cookies).toEqual([
      ['session_id2', '2'],
      ['xsession_id', '3'],
      ['session_id', answer.json().id],
    ]);
  });

  it('two changes of the id in a request make one cookie', async () => {
    const answer = await send('/regenerate');
    const cookies = setCookies(answer).map(({ key, value }) => [key, value]);
    expect(cookies).toEqual([
      ['before', '1'],
      ['session_id', answer.json().id],
    ]);
  });

  it.each(VARY)('Vary %s goes out as %s', async (app, sent) => {
    expect((await send('/write', app && `Vary=>${app}`)).headers.vary).toBe(sent);
  });

  it('Vary names the cookie wherever the session was looked at, and nowhere else', async () => {
    expect((await send('/fresh')).headers.vary).toBe('Cookie');
    expect((await send('/untouched')).headers).not.toHaveProperty('vary');
    expect((await send('/untouched', 'Vary=>Accept')).headers.vary).toBe('Accept');
  });

  it.each(CACHE_CONTROL)('Cache-Control %s goes out as %s', async (app, sent) => {
    const { headers } = await send('/write', app && `Cache-Control=>${app}`);
    expect(headers['cache-control']).toBe(sent);
  });

  it('Cache-Control is not touched where no cookie is set', async () => {
    expect((await send('/fresh')).headers).not.toHaveProperty('cache-control');
    expect((await send('/untouched')).headers).not.toHaveProperty('cache-control');
    const { headers } = await send('/untouched', 'Cache-Control=>public');
    expect(headers['cache-control']).toBe('public');
  });
});

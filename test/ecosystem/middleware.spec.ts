import { Controller, Get, Post, Req, Res } from '@nestjs/common';
import flash from 'connect-flash';
import { csrfSync } from 'csrf-sync';
import { describe, expect, it } from 'vitest';
import { loadSession } from 'nest-sessions';
import { Client } from '../support/client.js';
import { ScriptController, useServer } from '../support/scripts.js';

@Controller()
class FlashController {
  @Post('save')
  save(@Req() req: any, @Res() res: any) {
    req.flash('info', 'saved');
    req.flash('info', 'and sent');
    res.redirect('/messages');
  }

  @Get('messages')
  messages(@Req() req: any) {
    return { info: req.flash('info') };
  }
}

describe('connect-flash', () => {
  const server = useServer({
    controllers: [ScriptController, FlashController],
    sessions: { eager: true },
    prepare: app => void app.use(flash()),
  });

  it('a message is there in the next request, once', async () => {
    const client = new Client(server.url);
    expect((await client.post('/save')).status).toBe(302);
    expect((await client.get('/messages')).json()).toEqual({ info: ['saved', 'and sent'] });
    expect((await client.get('/messages')).json()).toEqual({ info: [] });
  });
});

@Controller()
class FormController {
  @Get('form')
  form(@Req() req: any) {
    return { token: req.csrfToken() };
  }

  @Post('form')
  send() {
    return { sent: true };
  }
}

describe('csrf-sync', () => {
  const { csrfSynchronisedProtection } = csrfSync();
  const server = useServer({
    controllers: [ScriptController, FormController],
    prepare: app => void app.use('/form', loadSession, csrfSynchronisedProtection),
  });

  it('a form with the token of the session is taken, one without it or with another’s is not', async () => {
    const [client, other] = [new Client(server.url), new Client(server.url)];
    const { token } = (await client.get('/form')).json();
    const { token: others } = (await other.get('/form')).json();
    const send = (value?: string) =>
      client.post('/form', { headers: value === undefined ? {} : { 'x-csrf-token': value } });
    expect((await send(token)).json()).toEqual({ sent: true });
    expect((await send()).status).toBe(403);
    expect((await send(others)).status).toBe(403);
  });
});

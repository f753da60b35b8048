import { Controller, Get, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { Readable } from 'node:stream';
import { Session } from 'nest-sessions';
import { CHANGED, hangUps } from './common.controller.js';

@Controller('res')
export class FastifyController {
  @Get('passthrough')
  passthrough(@Session() session: Session, @Res({ passthrough: true }) reply: FastifyReply) {
    session.set('mark', CHANGED);
    reply.status(202);
    return { ok: true };
  }

  @Get('passthrough-500')
  passthrough500(@Session() session: Session, @Res({ passthrough: true }) reply: FastifyReply) {
    session.set('mark', CHANGED);
    reply.status(500);
    return { ok: false };
  }

  @Get('send')
  send(@Session() session: Session, @Res() reply: FastifyReply) {
    session.set('mark', CHANGED);
    reply.send('sent');
  }

  @Get('send-500')
  send500(@Session() session: Session, @Res() reply: FastifyReply) {
    session.set('mark', CHANGED);
    reply.status(500).send('sent');
  }

  @Get('json')
  json(@Session() session: Session, @Res() reply: FastifyReply) {
    session.set('mark', CHANGED);
    reply.send({ ok: true });
  }

  @Get('end')
  end(@Session() session: Session, @Res() reply: FastifyReply) {
    session.set('mark', CHANGED);
    reply.hijack();
    reply.raw.end('ended');
  }

  @Get('pipe')
  pipe(@Session() session: Session, @Res() reply: FastifyReply) {
    session.set('mark', CHANGED);
    reply.send(Readable.from(Array.from({ length: 40 }, () => 'x'.repeat(10_000))));
  }

  @Get('redirect')
  redirect(@Session() session: Session, @Res() reply: FastifyReply) {
    session.set('mark', CHANGED);
    reply.redirect('/value', 302);
  }

  @Get('by-hand')
  byHand(@Session() session: Session, @Res() reply: FastifyReply) {
    session.set('mark', CHANGED);
    const res = reply.hijack().raw;
    res.writeHead(201, 'Made', { 'X-Own': '1', 'Set-Cookie': ['own=1', 'other=2'] });
    res.write('one');
    res.write('two');
    res.end('three');
  }

  @Get('by-hand-pairs')
  byHandPairs(@Session() session: Session, @Res() reply: FastifyReply) {
    session.set('mark', CHANGED);
    const res = reply.hijack().raw;
    res.writeHead(201, ['X-Own', '1', 'Set-Cookie', 'own=1', 'Set-Cookie', 'other=2']);
    res.end('onetwothree');
  }

  @Get('flush')
  flush(@Session() session: Session, @Res() reply: FastifyReply) {
    session.set('mark', CHANGED);
    const res = reply.hijack().raw;
    res.flushHeaders();
    setTimeout(() => res.end('flushed'), 5);
  }

  @Get('later')
  later(@Session() session: Session, @Res() reply: FastifyReply) {
    setTimeout(() => {
      session.set('mark', CHANGED);
      reply.send('later');
    }, 5);
  }

  @Get('slow')
  async slow(@Session() session: Session, @Res() reply: FastifyReply) {
    await hangUps.wait('/res/slow');
    session.set('mark', CHANGED);
    reply.send('slow');
  }
}

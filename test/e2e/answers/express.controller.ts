import { Controller, Get, Res } from '@nestjs/common';
import type { Response } from 'express';
import { Readable } from 'node:stream';
import { Session } from 'nest-sessions';
import { CHANGED, hangUps } from './common.controller.js';

@Controller('res')
export class ExpressController {
  @Get('passthrough')
  passthrough(@Session() session: Session, @Res({ passthrough: true }) res: Response) {
    session.set('mark', CHANGED);
    res.status(202);
    return { ok: true };
  }

  @Get('passthrough-500')
  passthrough500(@Session() session: Session, @Res({ passthrough: true }) res: Response) {
    session.set('mark', CHANGED);
    res.status(500);
    return { ok: false };
  }

  @Get('send')
  send(@Session() session: Session, @Res() res: Response) {
    session.set('mark', CHANGED);
    res.send('sent');
  }

  @Get('send-500')
  send500(@Session() session: Session, @Res() res: Response) {
    session.set('mark', CHANGED);
    res.status(500).send('sent');
  }

  @Get('json')
  json(@Session() session: Session, @Res() res: Response) {
    session.set('mark', CHANGED);
    res.json({ ok: true });
  }

  @Get('end')
  end(@Session() session: Session, @Res() res: Response) {
    session.set('mark', CHANGED);
    res.end('ended');
  }

  @Get('pipe')
  pipe(@Session() session: Session, @Res() res: Response) {
    session.set('mark', CHANGED);
    Readable.from(Array.from({ length: 40 }, () => 'x'.repeat(10_000))).pipe(res);
  }

  @Get('redirect')
  redirect(@Session() session: Session, @Res() res: Response) {
    session.set('mark', CHANGED);
    res.redirect('/value');
  }

  @Get('by-hand')
  byHand(@Session() session: Session, @Res() res: Response) {
    session.set('mark', CHANGED);
    res.writeHead(201, 'Made', { 'X-Own': '1', 'Set-Cookie': ['own=1', 'other=2'] });
    res.write('one');
    res.write('two');
    res.end('three');
  }

  @Get('by-hand-pairs')
  byHandPairs(@Session() session: Session, @Res() res: Response) {
    session.set('mark', CHANGED);
    res.writeHead(201, ['X-Own', '1', 'Set-Cookie', 'own=1', 'Set-Cookie', 'other=2']);
    res.end('onetwothree');
  }

  @Get('flush')
  flush(@Session() session: Session, @Res() res: Response) {
    session.set('mark', CHANGED);
    res.flushHeaders();
    setTimeout(() => res.end('flushed'), 5);
  }

  @Get('later')
  later(@Session() session: Session, @Res() res: Response) {
    setTimeout(() => {
      session.set('mark', CHANGED);
      res.send('later');
    }, 5);
  }

  @Get('slow')
  async slow(@Session() session: Session, @Res() res: Response) {
    await hangUps.wait('/res/slow');
    session.set('mark', CHANGED);
    res.send('slow');
  }
}

import { Controller, Get, Header } from '@nestjs/common';
import { readFileSync } from 'node:fs';
import { SkipSession } from 'nest-sessions';

// Beside dist: the compiler copies no such files.
const read = (name: string) => readFileSync(new URL(`../public/${name}`, import.meta.url), 'utf8');

/** In this order: later ones build on earlier ones. */
const STYLES = ['base.css', 'frame.css', 'catalogue.css', 'cart.css', 'account.css', 'lab.css'];

@SkipSession()
@Controller('assets')
export class AssetsController {
  private readonly css = STYLES.map(read).join('\n');
  private readonly race = read('race.js');

  @Get('shop.css')
  @Header('Content-Type', 'text/css; charset=utf-8')
  @Header('Cache-Control', 'no-cache')
  getCss(): string {
    return this.css;
  }

  @Get('race.js')
  @Header('Content-Type', 'text/javascript; charset=utf-8')
  @Header('Cache-Control', 'no-cache')
  getRace(): string {
    return this.race;
  }
}

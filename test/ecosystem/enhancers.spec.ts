import {
  Catch,
  Controller,
  Get,
  Injectable,
  Param,
  UseFilters,
  UseGuards,
  UseInterceptors,
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type NestInterceptor,
  type PipeTransform,
} from '@nestjs/common';
import { APP_FILTER, APP_GUARD, APP_INTERCEPTOR } from '@nestjs/core';
import { describe, expect, it } from 'vitest';
import { SessionStore } from 'nest-sessions';
import { ADAPTERS } from '../support/app.js';
import { Browser, ScriptController, useServer } from '../support/scripts.js';

@Injectable()
class UserGuard implements CanActivate {
  constructor(private readonly sessions: SessionStore) {}

  async canActivate() {
    return (await this.sessions.current({ readOnly: true })).has('user');
  }
}

@Injectable()
class VisitsInterceptor implements NestInterceptor {
  constructor(private readonly sessions: SessionStore) {}

  async intercept(_context: unknown, next: CallHandler) {
    const session = await this.sessions.current();
    session.set('visits', session.get('visits', 0) + 1);
    return next.handle();
  }
}

@Injectable()
class CurrencyPipe implements PipeTransform {
  constructor(private readonly sessions: SessionStore) {}

  async transform(price: string) {
    return `${price} ${(await this.sessions.current()).get('currency', 'EUR')}`;
  }
}

@Catch(RangeError)
class RangeFilter implements ExceptionFilter {
  constructor(private readonly sessions: SessionStore) {}

  async catch(error: RangeError, host: ArgumentsHost) {
    (await this.sessions.current()).set('lastError', error.message);
    const answer = host.switchToHttp().getResponse();
    answer.status(400).send({ message: error.message });
  }
}

@Controller()
class PricesController {
  @Get('price/:price')
  @UseGuards(UserGuard)
  @UseInterceptors(VisitsInterceptor)
  @UseFilters(RangeFilter)
  price(@Param('price', CurrencyPipe) price: string) {
    if (price.startsWith('-')) {
      throw new RangeError('a price is not negative');
    }
    return { price };
  }
}

@Controller()
class PlainController {
  @Get('price/:price')
  price(@Param('price', CurrencyPipe) price: string) {
    if (price.startsWith('-')) {
      throw new RangeError('a price is not negative');
    }
    return { price };
  }
}

const WAYS = ADAPTERS.flatMap(adapter => [
  { adapter, way: 'on the handler', controllers: [PricesController], providers: [] },
  {
    adapter,
    way: 'global',
    controllers: [PlainController],
    providers: [
      { provide: APP_GUARD, useClass: UserGuard },
      { provide: APP_INTERCEPTOR, useClass: VisitsInterceptor },
      { provide: APP_FILTER, useClass: RangeFilter },
    ],
  },
]);

describe.each(WAYS)(
  'guard, pipe, interceptor and filter, $way: $adapter',
  ({ adapter, controllers, providers }) => {
    const server = useServer({ adapter, controllers: [ScriptController, ...controllers], providers });
    const user = async (data = {}) =>
      new Browser(server.url, await server.store.create({ user: 'Ann', currency: 'CHF', ...data } as never));
    const dataOf = async (browser: Browser) => (await server.store.get((await browser.cookie())!))!.data;

    it('all reach the session, and what they change is stored', async () => {
      const browser = await user();
      expect((await browser.get('/price/5')).json()).toEqual({ price: '5 CHF' });
      expect((await browser.get('/price/6')).json()).toEqual({ price: '6 CHF' });
      expect(await dataOf(browser)).toEqual({ user: 'Ann', currency: 'CHF', visits: 2 });
    });

    it('the guard turns others away, and nothing is stored', async () => {
      const before = await server.stored();
      const stranger = new Browser(server.url);
      expect((await stranger.get('/price/5')).status).toBe(403);
      expect(await server.stored()).toBe(before);
    });

    it('what the filter changes is stored with its answer', async () => {
      const browser = await user();
      expect((await browser.get('/price/-1')).status).toBe(400);
      expect(await dataOf(browser)).toMatchObject({ lastError: 'a price is not negative', visits: 1 });
    });
  },
);

import {
  Body,
  ClassSerializerInterceptor,
  Controller,
  Get,
  Post,
  Session as NestSession,
  SerializeOptions,
  UseInterceptors,
  ValidationPipe,
  type ValidationPipeOptions,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { Expose } from 'class-transformer';
import { IsInt, IsString } from 'class-validator';
import { describe, expect, it } from 'vitest';
import { Session, SessionLocking, SessionStore, type ExpressSession } from 'nest-sessions';
import { ADAPTERS, startApp } from '../support/app.js';
import { Client } from '../support/client.js';

class Order {
  @IsString()
  sku!: string;

  @IsInt()
  count!: number;
}

class Shown {
  @Expose()
  sku!: string;
}

@Controller()
class ShopController {
  constructor(private readonly store: SessionStore) {}

  @Post('order')
  order(@Session() session: Session, @Body() order: Order) {
    session.update({ sku: order.sku, count: order.count });
    return { isOrder: order instanceof Order, keeps: session.get('sku'), isSession: typeof session.save };
  }

  @Get('one')
  one(@Session('sku') sku: string, @Session({ readOnly: true }) view: Session) {
    return { sku, viewed: view.get('sku'), size: view.size };
  }

  @SessionLocking('early')
  @Get('typed-otherwise')
  otherwise(@Session() session: any, @Session('count') count: number, @Session('nothing') nothing?: string) {
    return { count, size: session.size, nothing: nothing ?? null };
  }

  @Get('nest')
  nest(@NestSession() session: ExpressSession & Record<string, unknown>) {
    return { sku: session.sku };
  }

  @Get('session')
  session(@Session() session: Session) {
    return session;
  }

  @Get('view')
  view(@Session({ readOnly: true }) session: Session) {
    return session;
  }

  @Get('current')
  current() {
    return this.store.current();
  }

  @Get('data')
  data(@Session() session: Session) {
    return session.data;
  }

  @Get('inside')
  inside(@Session() session: Session) {
    return { mine: session, list: [session] };
  }

  @Get('express')
  express(@NestSession() session: ExpressSession) {
    return session;
  }

  @UseInterceptors(ClassSerializerInterceptor)
  @SerializeOptions({ type: Shown, excludeExtraneousValues: true })
  @Get('shown')
  shown(@Session() session: Session) {
    return session.data;
  }
}

const STRICT: ValidationPipeOptions = {
  validateCustomDecorators: true,
  forbidUnknownValues: true,
  whitelist: true,
  forbidNonWhitelisted: true,
};

describe.each(ADAPTERS)('neighbours: a global ValidationPipe: %s', adapter => {
  it.each<[string, ValidationPipeOptions]>([
    [
      'validateCustomDecorators, forbidUnknownValues',
      { validateCustomDecorators: true, forbidUnknownValues: true },
    ],
    ['with whitelist', STRICT],
    ['with transform', { ...STRICT, transform: true }],
    [
      'with implicit conversion',
      { ...STRICT, transform: true, transformOptions: { enableImplicitConversion: true } },
    ],
  ])('leaves @Session() alone, and validates bodies: %s', async (_title, options) => {
    const server = await startApp({
      adapter,
      controllers: [ShopController],
      prepare: app => void app.useGlobalPipes(new ValidationPipe(options)),
    });
    const client = new Client(server.url);
    const ordered = await client.post('/order', { body: { sku: 'x', count: 2 } });
    expect(ordered.json()).toEqual({ isOrder: !!options.transform, keeps: 'x', isSession: 'function' });
    expect((await client.post('/order', { body: { sku: 1, count: 'no' } })).status).toBe(400);
    expect((await client.get('/one')).json()).toEqual({ sku: 'x', viewed: 'x', size: 2 });
    expect((await client.get('/typed-otherwise')).json()).toEqual({ count: 2, size: 2, nothing: null });
    expect((await client.get('/nest')).json()).toEqual({ sku: 'x' });
    client.close();
    await server.close();
  });
});

describe.each(ADAPTERS)('neighbours: ClassSerializerInterceptor: %s', adapter => {
  it.each([
    {},
    { strategy: 'exposeAll' },
    { enableCircularCheck: true },
    { ignoreDecorators: true },
  ] as const)('`return session` gives its data: %o', async options => {
    const server = await startApp({
      adapter,
      controllers: [ShopController],
      prepare: app =>
        void app.useGlobalInterceptors(new ClassSerializerInterceptor(app.get(Reflector), options)),
    });
    const client = new Client(server.url);
    const data = { sku: 'x', count: 2 };
    await client.post('/order', { body: data });
    for (const path of ['/session', '/view', '/current', '/data']) {
      const answer = await client.get(path);
      expect([answer.status, answer.json()], path).toEqual([200, data]);
    }
    expect((await client.get('/inside')).json()).toEqual({ mine: data, list: [data] });
    expect((await client.get('/express')).json()).toMatchObject(data);
    expect((await client.get('/shown')).json()).toEqual({ sku: 'x' });
    expect((await client.get('/session')).body).not.toContain((await client.cookie())!);
    client.close();
    await server.close();
  });

  it('without it, the same', async () => {
    const server = await startApp({ adapter, controllers: [ShopController] });
    const client = new Client(server.url);
    await client.post('/order', { body: { sku: 'x', count: 2 } });
    for (const path of ['/session', '/view', '/current', '/data']) {
      expect((await client.get(path)).json(), path).toEqual({ sku: 'x', count: 2 });
    }
    client.close();
    await server.close();
  });
});

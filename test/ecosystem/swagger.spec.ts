import { Controller, Get, Post, Session as NestSession } from '@nestjs/common';
import { DocumentBuilder, SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import { describe, expect, it } from 'vitest';
import { Session, type ExpressSession } from 'nest-sessions';
import { ADAPTERS } from '../support/app.js';
import { Client } from '../support/client.js';
import { ScriptController, useServer } from '../support/scripts.js';

@Controller('cart')
class CartController {
  @Get()
  list(@Session({ readOnly: true }) session: Session) {
    return session.toJSON();
  }

  @Post()
  add(@Session() session: Session, @NestSession() express: ExpressSession) {
    session.set('cart', [...(express.cart ?? []), 'tea']);
  }
}

describe.each(ADAPTERS)('Swagger: %s', adapter => {
  const server = useServer({
    adapter,
    controllers: [ScriptController, CartController],
    prepare(app) {
      const config = new DocumentBuilder().addCookieAuth('session_id').build();
      SwaggerModule.setup('api', app, () => SwaggerModule.createDocument(app, config));
    },
  });

  it('describes handlers without their sessions, which are no part of a request’s input', async () => {
    const { paths }: OpenAPIObject = (await new Client(server.url).get('/api-json')).json();
    expect(paths['/cart']!.get!.parameters).toEqual([]);
    expect(paths['/cart']!.post).toMatchObject({ parameters: [] });
    expect(paths['/cart']!.post).not.toHaveProperty('requestBody');
  });

  it('its page sets no cookie, and the handlers have their session', async () => {
    const client = new Client(server.url);
    expect((await client.get('/api')).setCookies).toEqual([]);
    await client.post('/cart');
    await client.post('/cart');
    expect((await client.get('/cart')).json()).toEqual({ cart: ['tea', 'tea'] });
  });
});

import { Controller, Get, Injectable, Scope, type INestApplication } from '@nestjs/common';
import {
  ContextIdFactory,
  type ContextId,
  type ContextIdStrategy,
  type HostComponentInfo,
} from '@nestjs/core';
import { describe, expect, it } from 'vitest';
import { Session, SessionStore } from 'nest-sessions';
import { ADAPTERS } from '../support/app.js';
import { Client } from '../support/client.js';
import { ScriptController, useServer } from '../support/scripts.js';

@Injectable({ scope: Scope.REQUEST })
class RequestScoped {
  constructor(readonly session: Session) {}
}

@Injectable({ scope: Scope.TRANSIENT })
class Transient {
  constructor(readonly session: Session) {}
}

/** One a tenant: it lives from request to request. */
@Injectable({ scope: Scope.REQUEST, durable: true })
class DurableWithStore {
  constructor(private readonly store: SessionStore) {}

  async visits(): Promise<number> {
    return (await this.store.current()).get('visits', 0);
  }
}

@Injectable({ scope: Scope.REQUEST, durable: true })
class DurableWithSession {
  constructor(readonly session: Session) {}
}

@Controller()
class ScopesController {
  constructor(
    private readonly scoped: RequestScoped,
    private readonly transient: Transient,
  ) {}

  @Get('visit')
  visit(@Session() session: Session) {
    session.set('visits', session.get('visits', 0) + 1);
    return { same: this.scoped.session === session && this.transient.session === session };
  }
}

@Controller()
class DurableController {
  constructor(private readonly durable: DurableWithStore) {}

  @Get('durable')
  async visits() {
    return { visits: await this.durable.visits() };
  }
}

@Controller()
class WrongController {
  constructor(private readonly durable: DurableWithSession) {}

  @Get('wrong')
  wrong() {
    return this.durable.session.toJSON();
  }
}

/** All requests belong to one tenant. */
class OneTenantStrategy implements ContextIdStrategy {
  private readonly tenant = ContextIdFactory.create();

  attach(contextId: ContextId) {
    return {
      resolve: (info: HostComponentInfo) => (info.isTreeDurable ? this.tenant : contextId),
      payload: { tenant: 1 },
    };
  }
}

describe.each(ADAPTERS)('providers of all scopes: %s', adapter => {
  const server = useServer({
    adapter,
    controllers: [ScriptController, ScopesController],
    providers: [RequestScoped, Transient],
  });

  it('request-scoped and transient ones have the session of the request', async () => {
    const client = new Client(server.url);
    expect((await client.get('/visit')).json()).toEqual({ same: true });
    expect((await client.get('/visit')).json()).toEqual({ same: true });
    expect((await server.store.get((await client.cookie())!))!.data).toEqual({ visits: 2 });
  });
});

describe.each(ADAPTERS)('durable providers: %s', adapter => {
  const server = useServer({
    adapter,
    controllers: [ScriptController, DurableController, WrongController],
    providers: [DurableWithStore, DurableWithSession],
    prepare: (_app: INestApplication) => ContextIdFactory.apply(new OneTenantStrategy()),
  });

  it('one with SessionStore has each request’s own session', async () => {
    for (const visits of [3, 5]) {
      const id = await server.store.create({ visits } as never);
      const client = new Client(server.url);
      client.jar.setCookieSync(`session_id=${id}`, server.url);
      expect((await client.get('/durable')).json()).toEqual({ visits });
    }
  });

  it('one with Session is refused: it would show a user’s session to the next', async () => {
    expect((await new Client(server.url).get('/wrong')).status).toBe(500);
  });
});

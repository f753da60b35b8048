import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Injectable, Scope, UseGuards, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { Args, GraphQLModule, Int, Mutation, Query, Resolver } from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import { describe, expect, it } from 'vitest';
import { Session, SessionStore } from 'nest-sessions';
import type { AdapterName } from '../support/app.js';
import { Client } from '../support/client.js';
import { ScriptController, useServer } from '../support/scripts.js';
import { orAnother } from '../support/storage-names.js';

@Injectable({ scope: Scope.REQUEST })
class CartService {
  constructor(private readonly session: Session) {}

  size(): number {
    return this.session.get('count', 0);
  }
}

@Injectable()
class UserGuard implements CanActivate {
  constructor(private readonly store: SessionStore) {}

  async canActivate(_context: ExecutionContext) {
    return (await this.store.current()).has('user');
  }
}

/** How many sessions the resolvers of a request have seen. */
const seen = new Set<Session>();

@Resolver()
class CounterResolver {
  @Query(() => Int)
  count(@Session({ readOnly: true }) session: Session): number {
    return session.get('count', 0);
  }

  /** Takes its time, between reading and writing. */
  @Query(() => Int)
  async visit(@Session() session: Session): Promise<number> {
    seen.add(session);
    const count = session.get('count', 0);
    session.set('count', count + 1);
    await new Promise(resolve => setTimeout(resolve, 5));
    return count;
  }

  @Mutation(() => Int)
  async add(@Session() session: Session, @Args('n', { type: () => Int }) n: number): Promise<number> {
    const count: number = session.get('count', 0);
    await new Promise(resolve => setTimeout(resolve, 5));
    session.set('count', count + n);
    return count + n;
  }

  @Mutation(() => Boolean)
  async logIn(@Session() session: Session): Promise<boolean> {
    await session.regenerate();
    session.set('user', 'Ann');
    return true;
  }

  @Mutation(() => Boolean)
  async logOut(@Session() session: Session): Promise<boolean> {
    await session.destroy();
    return true;
  }

  @Query(() => String)
  @UseGuards(UserGuard)
  user(@Session('user') user: string): string {
    return user;
  }
}

@Resolver()
class ScopedResolver {
  constructor(private readonly cart: CartService) {}

  @Query(() => Int)
  size(): number {
    return this.cart.size();
  }
}

const SERVERS: [string, AdapterName, () => ReturnType<typeof GraphQLModule.forRoot>][] = [
  [
    'Apollo',
    'express',
    () => GraphQLModule.forRoot<ApolloDriverConfig>({ driver: ApolloDriver, autoSchemaFile: true }),
  ],
  [
    'Apollo',
    'fastify',
    () => GraphQLModule.forRoot<ApolloDriverConfig>({ driver: ApolloDriver, autoSchemaFile: true }),
  ],
  [
    'Mercurius',
    'fastify',
    () => GraphQLModule.forRoot<MercuriusDriverConfig>({ driver: MercuriusDriver, autoSchemaFile: true }),
  ],
];

describe.each(SERVERS)('GraphQL with %s on %s', (_name, adapter, graphql) => {
  const server = useServer({
    adapter,
    storage: orAnother('postgresql'),
    controllers: [ScriptController],
    providers: [CounterResolver, ScopedResolver, CartService, UserGuard],
    imports: [graphql()],
  });
  const ask = async (client: Client, query: string) => {
    const answer = await client.post('/graphql', { body: { query } });
    return { ...answer.json(), status: answer.status, setCookies: answer.setCookies };
  };

  it('@Session() in a resolver is the session of the request, stored when the answer is there', async () => {
    const client = new Client(server.url);
    expect((await ask(client, 'mutation { add(n: 2) }')).data).toEqual({ add: 2 });
    expect((await server.store.get((await client.cookie())!))!.data).toEqual({ count: 2 });
    expect((await ask(client, '{ count size }')).data).toEqual({ count: 2, size: 2 });
  });

  it('parallel resolvers of a request have one session and one lock', async () => {
    const client = new Client(server.url);
    await ask(client, 'mutation { add(n: 0) }');
    seen.clear();
    const { data } = await ask(client, '{ a: visit b: visit c: visit }');
    expect(Object.values(data).sort()).toEqual([0, 1, 2]);
    expect(seen.size).toBe(1);
    expect((await ask(client, '{ count }')).data).toEqual({ count: 3 });
  });

  it('no lost update: 20 mutations at once, each of which adds 1, end at 20', async () => {
    const client = new Client(server.url);
    await ask(client, 'mutation { add(n: 0) }');
    await Promise.all(Array.from({ length: 20 }, () => ask(client, 'mutation { add(n: 1) }')));
    expect((await ask(client, '{ count }')).data).toEqual({ count: 20 });
  });

  it('log-in, a guard and log-out', async () => {
    const client = new Client(server.url);
    expect((await ask(client, '{ user }')).errors).toHaveLength(1);
    await ask(client, 'mutation { logIn }');
    const id = (await client.cookie())!;
    expect((await ask(client, '{ user }')).data).toEqual({ user: 'Ann' });
    await ask(client, 'mutation { logOut }');
    expect((await ask(client, '{ user }')).errors).toHaveLength(1);
    expect(await server.store.exists(id)).toBe(false);
    expect(await client.cookie()).toBeUndefined();
  });

  it('untouched requests are free: a query without a session sets no cookie', async () => {
    expect((await ask(new Client(server.url), '{ __typename }')).setCookies).toEqual([]);
  });
});

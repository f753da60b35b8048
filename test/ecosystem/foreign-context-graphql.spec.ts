import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import {
  Controller,
  Get,
  Injectable,
  UseGuards,
  type CanActivate,
  type INestApplication,
} from '@nestjs/common';
import { GraphQLModule, Query, ResolveField, Resolver } from '@nestjs/graphql';
import { Field, ObjectType } from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import { describe, expect, it } from 'vitest';
import { Session, SessionStore } from 'nest-sessions';
import { startApp, type AdapterName } from '../support/app.js';
import { Browser, Gate } from '../support/scripts.js';
import { SharedConnection } from '../support/shared-connection.js';
import { times } from '../support/times.js';

let connection: SharedConnection;
let [opened, gate] = [new Gate(), new Gate()];

const userNow = async (store: SessionStore): Promise<string> => (await store.current()).get('user');

@ObjectType()
class Visitor {
  @Field(() => String)
  declare guard: string;
  @Field(() => String)
  declare query: string;
  @Field(() => String)
  declare field: string;
}

/** What the guard saw, by the session's user: as many requests are under way at once. */
const seenByGuard = new Map<unknown, string>();

@Injectable()
class UserGuard implements CanActivate {
  constructor(private readonly store: SessionStore) {}

  async canActivate() {
    const session = await this.store.current();
    seenByGuard.set(session, session.get('user'));
    return true;
  }
}

@Resolver(() => Visitor)
class VisitorResolver {
  constructor(private readonly store: SessionStore) {}

  @Query(() => Visitor)
  @UseGuards(UserGuard)
  async visitor(@Session() session: Session) {
    return { guard: seenByGuard.get(session), query: await userNow(this.store) };
  }

  @ResolveField()
  field() {
    return userNow(this.store);
  }
}

@Controller()
class OpenController {
  @Get('open')
  async open(@Session({ readOnly: true }) session: Session) {
    await connection.open();
    opened.open();
    await gate.opened;
    return session.get('user');
  }
}

const goOn = (next: () => void) => (connection.isOpen ? connection.ask(next) : next());
const asMiddleware = (app: INestApplication) =>
  app.use((_req: unknown, _res: unknown, next: () => void) => goOn(next));
const asHook = (app: INestApplication) =>
  app
    .getHttpAdapter()
    .getInstance()
    .addHook('preHandler', (_request: unknown, _reply: unknown, done: () => void) => goOn(done));

const apollo = (context?: ApolloDriverConfig['context']) =>
  GraphQLModule.forRoot<ApolloDriverConfig>({ driver: ApolloDriver, autoSchemaFile: true, context });
const mercurius = (context?: MercuriusDriverConfig['context']) =>
  GraphQLModule.forRoot<MercuriusDriverConfig>({ driver: MercuriusDriver, autoSchemaFile: true, context });

const SERVERS: [string, AdapterName, () => ReturnType<typeof GraphQLModule.forRoot>][] = [
  ['Apollo', 'express', () => apollo()],
  ['Apollo, with a context of the application’s', 'express', () => apollo(() => ({ locale: 'en' }))],
  ['Apollo', 'fastify', () => apollo()],
  ['Apollo, with a context of the application’s', 'fastify', () => apollo(() => ({ locale: 'en' }))],
  ['Mercurius', 'fastify', () => mercurius()],
  ['Mercurius, with a context of the application’s', 'fastify', () => mercurius(() => ({ locale: 'en' }))],
];

describe.each(SERVERS)('foreign async context, GraphQL with %s on %s', (_name, adapter, graphql) => {
  it('resolvers and their guards see their own request’s session', async () => {
    [connection, opened, gate] = [new SharedConnection(), new Gate(), new Gate()];
    await connection.listen();
    const server = await startApp({
      adapter,
      controllers: [OpenController],
      providers: [VisitorResolver, UserGuard],
      imports: [graphql()],
      prepare: app => void (adapter === 'fastify' ? asHook(app) : asMiddleware(app)),
    });
    const [ann, ben, cleo] = await Promise.all(
      ['Ann', 'Ben', 'Cleo'].map(
        async user => new Browser(server.url, await server.store.create({ user } as never)),
      ),
    );
    const opening = ann!.get('/open');
    await opened.opened;
    const body = { query: '{ visitor { guard query field } }' };
    const answers = await times(20, async index => {
      const answer = await [ben, cleo][index % 2]!.post('/graphql', { body });
      return answer.json().data?.visitor ?? answer.body;
    });
    const expected = (user: string) => ({ guard: user, query: user, field: user });
    expect(answers).toEqual(Array.from({ length: 20 }, (_, index) => expected(['Ben', 'Cleo'][index % 2]!)));
    gate.open();
    expect((await opening).body).toBe('Ann');
    connection.close();
    await server.close();
  });
});

// Compiled by `npm run typecheck`, never run: what must compile, and, below @ts-expect-error, what must not.
import { Controller, Get, Inject, Injectable } from '@nestjs/common';
import {
  SESSION_BACKEND,
  Session,
  SessionLocking,
  SessionStore,
  SessionsModule,
  SkipSession,
  expressStore,
  loadSession,
  type ExpressSession,
  type SessionBackend,
} from 'nest-sessions';

declare module 'nest-sessions' {
  interface SessionData {
    userId?: number;
    cart: string[];
    theme: 'light' | 'dark';
  }
}

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function is<_Check extends true>(): void {}

export function reads(session: Session): void {
  const userId = session.get('userId');
  is<Equals<typeof userId, number | undefined>>();
  const cart = session.get('cart');
  is<Equals<typeof cart, string[] | undefined>>();
  const cartOrEmpty = session.get('cart', []);
  is<Equals<typeof cartOrEmpty, string[]>>();
  const idOrNull = session.get('userId', null);
  is<Equals<typeof idOrNull, number | null>>();
  const popped = session.pop('theme');
  is<Equals<typeof popped, 'light' | 'dark'>>();
  const { data } = session;
  is<Equals<typeof data.cart, string[]>>();
  is<Equals<typeof data.userId, number | undefined>>();
  for (const [key] of session) {
    is<Equals<typeof key, 'userId' | 'cart' | 'theme'>>();
  }

  // @ts-expect-error no such key
  session.get('visits');
  // @ts-expect-error no such key
  void session.data.visits;
  // @ts-expect-error no such key
  session.has('visits');
}

export function writes(session: Session): void {
  session.set('userId', 7).set('theme', 'dark');
  session.setDefault('cart', []).push('sku');
  session.update({ userId: 7 });
  session.data.cart.push('sku');
  session.timeout = 30;
  session.owner = '7';
  session.onIdChange((id, previousId) => [id, previousId]);

  // @ts-expect-error wrong type
  session.set('userId', '7');
  // @ts-expect-error wrong value
  session.set('theme', 'blue');
  // @ts-expect-error no such key
  session.set('visits', 1);
  // @ts-expect-error wrong type
  session.update({ userId: '7' });
  // @ts-expect-error not a property of a session
  session.visits = 1;
  // @ts-expect-error read-only
  session.id = 'mine';
  // @ts-expect-error read-only
  session.data = { cart: [], theme: 'dark' };
  // @ts-expect-error an owner is a string
  session.owner = 7;
}

@Controller()
export class TypedController {
  @Get('a')
  whole(@Session() session: Session, @Session({ readOnly: true }) view: Session) {
    return [session.size, view.size];
  }

  @Get('b')
  one(@Session('userId') userId: number) {
    return userId;
  }

  @Get('c')
  // @ts-expect-error no such key
  wrongKey(@Session('visits') visits: number) {
    return visits;
  }

  @Get('d')
  // @ts-expect-error no such option
  wrongOption(@Session({ readonly: true }) session: Session) {
    return session;
  }

  @Get('e')
  @SessionLocking('explicit')
  explicit() {}

  @Get('f')
  // @ts-expect-error no such mode
  @SessionLocking('never')
  wrongMode() {}

  @Get('g')
  @SkipSession()
  skipped() {}
}

@Injectable()
export class TypedService {
  constructor(
    private readonly session: Session,
    private readonly sessions: SessionStore,
    @Inject(SESSION_BACKEND) private readonly backend: SessionBackend,
  ) {}

  async use(id: string) {
    const size: number | undefined = await this.sessions.update(id, session => session.size);
    const cart: string[] | undefined = (await this.sessions.get(id))?.data.cart;
    const created: string = await this.sessions.create({ theme: 'light' }, { owner: '7', timeout: 5 });
    // @ts-expect-error wrong value
    await this.sessions.create({ theme: 'blue' });
    return [size, cart, created, this.session.id, await this.backend.count?.()];
  }
}

SessionsModule.forRoot();
SessionsModule.forRoot({ storageType: 'file', storagePath: './sessions', isGlobal: false });
SessionsModule.forRootAsync({ useFactory: () => ({ timeout: 5 }) });
// @ts-expect-error no such storage
SessionsModule.forRoot({ storageType: 'disk' });
// @ts-expect-error no such option
SessionsModule.forRoot({ storagepath: './sessions' });

export async function useExpressSession(session: ExpressSession) {
  const cart: string[] | undefined = session.cart;
  session.theme = 'dark';
  // @ts-expect-error wrong value
  session.theme = 'blue';
  // @ts-expect-error no such key
  session.thema = 'dark';
  // @ts-expect-error made by the server
  session.id = 'x';
  session.cookie.maxAge = 1000;
  // @ts-expect-error the same for all sessions
  session.cookie.secure = true;
  session.touch().save(error => error);
  await session.regenerate();
  return cart;
}

loadSession({} as never, {} as never, () => undefined);
const store = new (class {
  get(_sid: string, _callback: (error: unknown, session?: object | null) => void): void {}
  set(_sid: string, _session: object, _callback?: (error?: unknown) => void): void {}
  destroy(_sid: string, _callback?: (error?: unknown) => void): void {}
})();
SessionsModule.forRoot({ storageType: expressStore(store), eager: true, requestSession: false });
SessionsModule.forRoot({ migrateFrom: { store, secret: 's', name: 'connect.sid' } });
// @ts-expect-error a store is missing
SessionsModule.forRoot({ migrateFrom: { secret: 's' } });
// @ts-expect-error no store
expressStore({ get() {} });

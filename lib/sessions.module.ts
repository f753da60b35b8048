import {
  ConfigurableModuleBuilder,
  Module,
  Scope,
  type DynamicModule,
  type MiddlewareConsumer,
  type NestModule,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { ModuleRef, ModulesContainer, REQUEST } from '@nestjs/core';
import { SchedulerRegistry } from '@nestjs/schedule';
import { SessionCleanUpJob } from './cleanup/clean-up.job.js';
import { ExpressMigration } from './compat/express-migration.js';
import { loadForNestSession } from './compat/nest-session-param.js';
import { requestSessionExtension } from './compat/request-session.js';
import { requireContext } from './http/find-context.js';
import { enterPlainFieldResolvers, importersOf } from './http/nest-internals.js';
import { RequestEntry } from './http/request-entry.js';
import { SessionCookie } from './http/session-cookie.js';
import { Session } from './http/session.decorator.js';
import { SessionInterceptor } from './http/session.interceptor.js';
import type { ResolvedSessionOptions } from './options/session-options.js';
import { SessionRuntime } from './session/session-runtime.js';
import { SessionIdCarrier } from './session/session-id-carrier.js';
import { SessionStore } from './session/session-store.js';
import { resolveModuleOptions, type SessionModuleOptions } from './sessions.options.js';
import { describeUse, openBackend } from './storage/open-storage.js';
import type { SessionBackend } from './storage/session-backend.js';

/** The injection token of the storage in use: a `SessionBackend`. */
export const SESSION_BACKEND = Symbol('SESSION_BACKEND');
const RESOLVED_OPTIONS = Symbol('RESOLVED_SESSION_OPTIONS');

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<SessionModuleOptions>({ moduleName: 'Sessions' })
    .setClassMethodName('forRoot')
    .setFactoryMethodName('createSessionOptions')
    .setExtras({ isGlobal: true }, (definition, { isGlobal }) => ({
      ...definition,
      global: isGlobal ?? true,
    }))
    .build();

/**
 * Sessions for an application: `SessionsModule.forRoot(options)` or `forRootAsync` in the imports of
 * AppModule. Global, unless `isGlobal: false`.
 */
@Module({
  providers: [
    // Takes the place of the options where the class is imported as it is, without forRoot().
    { provide: MODULE_OPTIONS_TOKEN, useFactory: refuseWithoutOptions, inject: [ModulesContainer] },
    { provide: RESOLVED_OPTIONS, useFactory: resolveModuleOptions, inject: [MODULE_OPTIONS_TOKEN] },
    {
      provide: SESSION_BACKEND,
      // Only once all options are right.
      useFactory: (options: SessionModuleOptions, moduleRef: ModuleRef) => openBackend(options, moduleRef),
      inject: [MODULE_OPTIONS_TOKEN, ModuleRef, RESOLVED_OPTIONS],
    },
    {
      provide: SessionRuntime,
      useFactory: (
        resolved: ResolvedSessionOptions,
        options: SessionModuleOptions,
        backend: SessionBackend,
      ) => new SessionRuntime(resolved, { ...describeUse(options), backend }),
      inject: [RESOLVED_OPTIONS, MODULE_OPTIONS_TOKEN, SESSION_BACKEND],
    },
    {
      provide: SessionCookie,
      useFactory: (options: ResolvedSessionOptions) => new SessionCookie(options),
      inject: [RESOLVED_OPTIONS],
    },
    { provide: SessionIdCarrier, useExisting: SessionCookie },
    {
      provide: Session,
      scope: Scope.REQUEST,
      useFactory: (request: unknown) => requireContext(request).use(),
      inject: [REQUEST],
    },
    SessionStore,
    SessionInterceptor,
    RequestEntry,
    SessionCleanUpJob,
    SchedulerRegistry,
  ],
  exports: [SESSION_BACKEND, Session, SessionStore, SessionInterceptor],
})
export class SessionsModule
  extends ConfigurableModuleClass
  implements NestModule, OnApplicationBootstrap, OnApplicationShutdown
{
  constructor(
    private readonly modules: ModulesContainer,
    private readonly entry: RequestEntry,
    private readonly runtime: SessionRuntime,
  ) {
    super();
    refuseSecond(modules);
    const { migrateFrom, requestSession } = runtime.options;
    entry.install([
      ...(requestSession ? [requestSessionExtension] : []),
      ...(migrateFrom ? [{ former: new ExpressMigration(runtime, migrateFrom) }] : []),
    ]);
  }

  static override forRoot(options: typeof OPTIONS_TYPE = {}): DynamicModule {
    return super.forRoot(options);
  }

  configure(consumer: MiddlewareConsumer): void {
    loadForNestSession(this.modules);
    enterPlainFieldResolvers(this.modules);
    this.entry.installBeforeMiddleware(consumer, this);
  }

  onApplicationBootstrap(): void {
    this.entry.checkRoutes();
  }

  /** Nest has answered the last request by now. */
  async onApplicationShutdown(): Promise<void> {
    await this.runtime.close();
  }
}

function refuseWithoutOptions(modules: ModulesContainer): never {
  refuseSecond(modules);
  throw new Error(
    'SessionsModule is imported as it is; import SessionsModule.forRoot(options) in AppModule, once for all modules',
  );
}

/** @throws Error that names who imports it: two would each hold sessions of their own, and fight for the cookie */
function refuseSecond(modules: ModulesContainer): void {
  const all = [...modules.values()];
  const own = all.filter(({ metatype }) => metatype === SessionsModule);
  if (own.length > 1) {
    const importers = own.map(module => {
      const names = importersOf(module, all).map(({ metatype }) => metatype.name);
      return names.join(', ');
    });
    throw new Error(
      `SessionsModule.forRoot() is imported more than once, by ${importers.join(' and by ')}: import it in AppModule ` +
        'alone. It is global; in a feature module, inject SessionStore or use @Session() without an import',
    );
  }
}

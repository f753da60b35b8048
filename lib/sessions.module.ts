import {
  ConfigurableModuleBuilder,
  Module,
  Scope,
  type DynamicModule,
  type MiddlewareConsumer,
  type NestModule,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { HttpAdapterHost, ModuleRef, ModulesContainer, REQUEST } from '@nestjs/core';
import { SchedulerRegistry } from '@nestjs/schedule';
import { SessionCleanUpJob } from './cleanup/clean-up.job.js';
import { requireHttpContext } from './http/http-session.context.js';
import { installBeforeMiddleware, installRequestHook } from './http/install-request-hook.js';
import { loadForNestSession } from './http/nest-session-param.js';
import { SessionCookie } from './http/session-cookie.js';
import { Session } from './http/session.decorator.js';
import { SessionInterceptor } from './http/session.interceptor.js';
import { SessionMiddleware } from './http/session.middleware.js';
import { resolveSessionOptions } from './options/resolve-options.js';
import type { ResolvedSessionOptions, SessionModuleOptions } from './options/session-options.js';
import { SessionManager } from './session/session-manager.js';
import { SessionIdReader, SessionStore } from './session/session-store.js';
import { createBackend } from './storage/create-backend.js';
import type { SessionBackend } from './storage/session-backend.js';

/** The injection token of the storage in use: a `SessionBackend`. */
export const SESSION_BACKEND = Symbol('SESSION_BACKEND');
const RESOLVED_OPTIONS = Symbol('RESOLVED_SESSION_OPTIONS');

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<SessionModuleOptions>({ moduleName: 'Sessions' })
    .setClassMethodName('forRoot')
    .setFactoryMethodName('createSessionOptions')
    .setExtras({ isGlobal: true }, (definition, { isGlobal }) => ({ ...definition, global: isGlobal }))
    .build();

/**
 * Sessions for an application: `SessionsModule.forRoot(options)` or `forRootAsync` in the imports of
 * AppModule. Global, unless `isGlobal: false`.
 */
@Module({
  providers: [
    { provide: RESOLVED_OPTIONS, useFactory: resolveSessionOptions, inject: [MODULE_OPTIONS_TOKEN] },
    { provide: SESSION_BACKEND, useFactory: createBackend, inject: [RESOLVED_OPTIONS, ModuleRef] },
    {
      provide: SessionManager,
      useFactory: (options: ResolvedSessionOptions, backend: SessionBackend) =>
        new SessionManager(options, backend),
      inject: [RESOLVED_OPTIONS, SESSION_BACKEND],
    },
    {
      provide: SessionCookie,
      useFactory: (options: ResolvedSessionOptions) => new SessionCookie(options),
      inject: [RESOLVED_OPTIONS],
    },
    { provide: SessionIdReader, useExisting: SessionCookie },
    {
      provide: Session,
      scope: Scope.REQUEST,
      useFactory: (request: unknown) => requireHttpContext(request).use(),
      inject: [REQUEST],
    },
    SessionStore,
    SessionInterceptor,
    SessionMiddleware,
    SessionCleanUpJob,
    SchedulerRegistry,
  ],
  exports: [SESSION_BACKEND, Session, SessionStore, SessionInterceptor],
})
export class SessionsModule extends ConfigurableModuleClass implements NestModule, OnApplicationShutdown {
  constructor(
    private readonly host: HttpAdapterHost,
    private readonly modules: ModulesContainer,
    private readonly middleware: SessionMiddleware,
    private readonly manager: SessionManager,
  ) {
    super();
    installRequestHook(host, middleware);
  }

  static override forRoot(options: typeof OPTIONS_TYPE = {}): DynamicModule {
    return super.forRoot(options);
  }

  configure(consumer: MiddlewareConsumer): void {
    loadForNestSession(this.modules);
    installBeforeMiddleware(consumer, this.host, this.modules, this.middleware, this);
  }

  /** Nest has answered the last request by now. */
  async onApplicationShutdown(): Promise<void> {
    await this.manager.close();
  }
}

// Re-exported whole: an application adds its keys to SessionData with `declare module 'nest-sessions'`,
// which only reaches an interface that comes through a star.
export * from './session/session-data.js';
export * from './exceptions/session.exception.js';
export { SESSION_CLEAN_UP_JOB } from './cleanup/clean-up.job.js';
export type { ExpressSession, ExpressSessionCallback } from './compat/express-session.js';
export type { FastifySession } from './compat/fastify-session.js';
export type { ExpressSessionCookie } from './compat/express-session-cookie.js';
export { loadSession } from './compat/request-session.js';
export { Session } from './http/session.decorator.js';
export type { SessionParamOptions } from './session/session-context.js';
export { SessionInterceptor } from './http/session.interceptor.js';
export { SessionLocking, SkipSession } from './http/session-route.guard.js';
export { jsonPlusSerializer } from './options/json-plus.serializer.js';
export { jsonSerializer } from './options/json.serializer.js';
export type {
  SessionExclude,
  SessionLockingMode,
  SessionOptions,
  SessionSerializer,
} from './options/session-options.js';
export type { ExpressMigrationOptions } from './options/migration-options.js';
export type { SessionModuleOptions, SessionOptionsFactory } from './sessions.options.js';
export type { StorageOptions } from './storage/storage-options.js';
export { SESSION_BACKEND, SessionsModule } from './sessions.module.js';
export type { OwnedSession, SessionPage, SessionSnapshot } from './session/session-snapshot.js';
export type { SessionCookieText } from './session/session-id-carrier.js';
export { SessionStore } from './session/session-store.js';
export { expressStore } from './storage/express-store/express-store.backend.js';
export type { ExpressStore } from './options/express-store.js';
export type {
  Admission,
  Lease,
  OwnerLimit,
  StoredRecord,
  OwnerSelection,
  SessionBackend,
  SessionRecord,
  SessionSettings,
  SessionWrite,
} from './storage/session-backend.js';

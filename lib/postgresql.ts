// `nest-sessions/postgresql`: for applications that query, or migrate, the sessions table themselves. Needs typeorm.
export { CreateSessionsTable } from './storage/postgresql/create-sessions-table.migration.js';
export { SessionEntity } from './storage/postgresql/session.entity.js';

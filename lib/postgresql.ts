// `nest-sessions/postgresql`: for applications that query, or migrate, the sessions table themselves. Needs typeorm.
export {
  AddSessionColumns,
  CreateSessionsTable,
} from './storage/postgresql/create-sessions-table.migration.js';
export { SessionEntity } from './storage/postgresql/session.entity.js';

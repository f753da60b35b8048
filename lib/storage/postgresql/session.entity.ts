import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { DEFAULT_TABLE } from './postgresql.table.js';

/** A row of the sessions table, for queries and migrations of the application. Change none: a request may hold it. */
@Entity({ name: DEFAULT_TABLE })
export class SessionEntity {
  /** The hash of the session id. */
  @PrimaryColumn('text')
  key!: string;

  /** In SQL: `data->>'userId'`. */
  @Column('json')
  data!: Record<string, unknown>;

  @Index(`${DEFAULT_TABLE}_owner`, { where: 'owner IS NOT NULL' })
  @Column('text', { nullable: true })
  owner!: string | null;

  /** Minutes. */
  @Column('double precision', { nullable: true })
  timeout!: number | null;

  /** Whether its cookie outlives the browser; null: as the option says. */
  @Column('boolean', { nullable: true })
  persistent!: boolean | null;

  @Column('timestamptz', { name: 'last_used_at', default: () => 'now()' })
  lastUsedAt!: Date;

  /** The version of the row's format. */
  @Column('smallint', { default: 1 })
  format!: number;

  @Column('timestamptz', { name: 'created_at' })
  createdAt!: Date;

  @Column('timestamptz', { name: 'expires_at' })
  expiresAt!: Date;

  @Column('text', { name: 'lock_token', nullable: true, select: false })
  lockToken!: string | null;

  @Column('timestamptz', { name: 'locked_until', nullable: true, select: false })
  lockedUntil!: Date | null;
}

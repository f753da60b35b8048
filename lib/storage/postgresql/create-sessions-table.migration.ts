import type { MigrationInterface, QueryRunner } from 'typeorm';
import {
  addColumnsStatement,
  createTableStatements,
  DEFAULT_TABLE,
  quoteTable,
  type SessionTable,
} from './postgresql.table.js';

/**
 * Makes the sessions table, for applications that run migrations and set `createTable: false`. For another name
 * or schema, extend it: `class MySessions1700000000000 extends CreateSessionsTable { table = { name: 'my_sessions' } }`.
 */
export class CreateSessionsTable implements MigrationInterface {
  /** TypeORM reads a migration's order off the number at its end. */
  readonly name: string = 'CreateSessionsTable1760000000000';
  protected readonly table: SessionTable = { name: DEFAULT_TABLE };

  async up(queryRunner: QueryRunner): Promise<void> {
    for (const statement of createTableStatements(this.table)) {
      await queryRunner.query(statement);
    }
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`DROP TABLE ${quoteTable(this.table)}`);
  }
}

/**
 * Brings a table of version 0.1 up to date, for applications that run migrations. Run it before the first process of the
 * new version starts; those of version 0.1 go on with it.
 */
export class AddSessionColumns implements MigrationInterface {
  readonly name: string = 'AddSessionColumns1764000000000';
  protected readonly table: SessionTable = { name: DEFAULT_TABLE };

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(addColumnsStatement(this.table));
  }

  /** Leaves the columns: version 0.1 does not mind them. */
  async down(): Promise<void> {}
}

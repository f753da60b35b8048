import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { SessionsModule, SessionStore } from 'nest-sessions';
import { CreateSessionsTable, SessionEntity } from 'nest-sessions/postgresql';
import { DataSource } from 'typeorm';

const dataSource = new DataSource({
  type: 'postgres',
  url: process.env.DATABASE_URL!,
  entities: [SessionEntity],
  migrations: [CreateSessionsTable],
});

@Module({
  imports: [
    SessionsModule.forRootAsync({
      useFactory: () => ({ storageType: 'postgresql', dataSource, createTable: false }),
    }),
  ],
})
class AppModule {}

/** The application's own DataSource, migration and entity. Prints what the entity shows of a session. */
async function main(): Promise<void> {
  await dataSource.initialize();
  await dataSource.runMigrations();
  const app = await NestFactory.create(AppModule, { logger: false, abortOnError: false });
  await app.init();
  await app.get(SessionStore).create({ visits: 7 }, { owner: 'ada' });
  await app.close();
  const entity = await dataSource.getRepository(SessionEntity).findOneByOrFail({ owner: 'ada' });
  console.log(entity.owner, JSON.stringify(entity.data), entity.expiresAt > entity.createdAt);
  await dataSource.undoLastMigration();
  await dataSource.destroy();
}

main().catch((error: unknown) => {
  console.log(error);
  process.exitCode = 1;
});

import 'reflect-metadata';
import { Controller, Get, Module, Param } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { setTimeout as sleep } from 'node:timers/promises';
import { Session, SessionsModule, type SessionModuleOptions } from 'nest-sessions';
import { DataSource } from 'typeorm';

/**
 * A server that counts in the session, for tests in which its storage goes away. Environment:
 * - ADAPTER: express (default) or fastify
 * - SESSION_OPTIONS: the session options, as JSON
 * - DATA_SOURCE: the url of a DataSource of the application's own, which the sessions use
 *
 * Prints `listening <port>`. SIGTERM closes the application: it prints `closed` and ends when nothing keeps it.
 * What nobody catches ends it too, as it does by default.
 */
const { ADAPTER, SESSION_OPTIONS = '{}', DATA_SOURCE } = process.env;

async function sessionOptions(): Promise<SessionModuleOptions> {
  const options: SessionModuleOptions = JSON.parse(SESSION_OPTIONS);
  if (!DATA_SOURCE) {
    return options;
  }
  const dataSource = new DataSource({ type: 'postgres', url: DATA_SOURCE, applicationName: 'nest-sessions' });
  return { ...options, storageType: 'postgresql', dataSource: await dataSource.initialize() };
}

@Controller()
class CountController {
  /** @param work milliseconds between reading and writing */
  @Get('count/:work')
  async count(@Session() session: Session, @Param('work') work: string) {
    const count = session.get('count', 0) + 1;
    await sleep(Number(work));
    session.set('count', count);
    return { count };
  }

  @Get('read')
  read(@Session({ readOnly: true }) session: Session) {
    return { count: session.get('count', 0) };
  }

  /** Takes the lock and changes nothing. */
  @Get('look')
  look(@Session() session: Session) {
    return { count: session.get('count', 0) };
  }
}

@Module({
  imports: [SessionsModule.forRootAsync({ useFactory: sessionOptions })],
  controllers: [CountController],
})
class OutageModule {}

const settings = { logger: ['error', 'warn'] as ('error' | 'warn')[] };
const app =
  ADAPTER === 'fastify'
    ? await NestFactory.create(OutageModule, new FastifyAdapter(), settings)
    : await NestFactory.create(OutageModule, settings);
process.once('SIGTERM', () => void app.close().then(() => console.log('closed')));
await app.listen(0, '127.0.0.1');
console.log(`listening ${app.getHttpServer().address().port}`);

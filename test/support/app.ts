import type { DynamicModule, INestApplication, Provider, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { SessionsModule, type SessionModuleOptions } from 'nest-sessions';

export type AdapterName = 'express' | 'fastify';
export const ADAPTERS: AdapterName[] = ['express', 'fastify'];

export interface TestApp {
  app: INestApplication;
  /** Like http://127.0.0.1:41234 */
  url: string;
  close(): Promise<void>;
}

export interface TestAppOptions {
  adapter?: AdapterName;
  sessions?: SessionModuleOptions;
  controllers?: Type[];
  providers?: Provider[];
  imports?: (DynamicModule | Type)[];
  /** Last steps before it listens. */
  prepare?: (app: INestApplication) => void | Promise<void>;
  logger?: false | ['error'];
}

/** A Nest application with sessions that listens on a free port. */
export async function startApp(options: TestAppOptions): Promise<TestApp> {
  class TestModule {}
  const module: DynamicModule = {
    module: TestModule,
    imports: [SessionsModule.forRoot(options.sessions ?? {}), ...(options.imports ?? [])],
    controllers: options.controllers ?? [],
    providers: options.providers ?? [],
  };
  const settings = { logger: options.logger ?? (false as const), abortOnError: false };
  const app =
    options.adapter === 'fastify'
      ? await NestFactory.create(module, new FastifyAdapter(), settings)
      : await NestFactory.create(module, settings);
  await options.prepare?.(app);
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address();
  return { app, url: `http://127.0.0.1:${port}`, close: () => app.close() };
}

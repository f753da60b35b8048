import 'reflect-metadata';
import { Module, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { SessionsModule, type SessionModuleOptions } from 'nest-sessions';

/** Listens, on the adapter that the environment names in ADAPTER. @param port 0: a free one @returns the port */
export async function serve(
  controllers: Type | Type[],
  options: SessionModuleOptions,
  port = 0,
): Promise<number> {
  @Module({ imports: [SessionsModule.forRoot(options)], controllers: [controllers].flat() })
  class ServerModule {}

  const settings = { logger: ['error', 'warn'] as ('error' | 'warn')[] };
  const app =
    process.env.ADAPTER === 'fastify'
      ? await NestFactory.create(ServerModule, new FastifyAdapter(), settings)
      : await NestFactory.create(ServerModule, settings);
  // Not enableShutdownHooks(): that ends the process itself, whatever handles are left.
  process.once('SIGTERM', () => void app.close().then(() => console.log('closed')));
  await app.listen(port, '127.0.0.1');
  return app.getHttpServer().address().port;
}

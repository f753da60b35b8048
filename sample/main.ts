import type { NestApplicationOptions } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { AppModule } from './app.module.js';
import { readConfig } from './config.js';

async function start(): Promise<void> {
  const { adapter, port, storage } = readConfig(process.env);
  const options: NestApplicationOptions = {
    logger: ['warn', 'error'],
    // What keeps the shop from opening is told below, in one line, and not by Nest with its stack as well.
    abortOnError: false,
    bufferLogs: true,
    autoFlushLogs: false,
  };
  const app =
    adapter === 'fastify'
      ? await NestFactory.create(AppModule, new FastifyAdapter(), options)
      : await NestFactory.create(AppModule, options);
  app.flushLogs();
  app.enableShutdownHooks();
  // All interfaces, so that a phone in the same network can visit.
  await app.listen(port, '0.0.0.0');
  console.log(
    `The shop is open: http://localhost:${app.getHttpServer().address().port} (${adapter}, sessions in ${storage})`,
  );
}

start().catch((error: unknown) => {
  console.error(`The shop cannot open: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});

import 'reflect-metadata';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { median } from './median.js';
import { Table } from './results.js';

/** What this package adds to the start of a Nest application: each start is a process of its own, in turns. */
const STARTS = 15;

const [, , mode] = process.argv;
if (mode === undefined || mode === '--save') {
  const taken: Record<string, number[]> = { 'Nest alone': [], 'with nest-sessions': [] };
  for (let round = 0; round < STARTS; round++) {
    for (const [name, values] of Object.entries(taken)) {
      const { stdout } = await promisify(execFile)(process.execPath, [fileURLToPath(import.meta.url), name]);
      values.push(Number(stdout));
    }
  }
  const [alone, withSessions] = Object.values(taken).map(median) as [number, number];
  const table = new Table('Start of a Nest application');
  table.add('milliseconds alone', 'with nest-sessions', 'ratio');
  table.add(alone.toFixed(0), withSessions.toFixed(0), (withSessions / alone).toFixed(2));
  table.end();
} else {
  const { NestFactory } = await import('@nestjs/core');
  class AppModule {}
  const imports =
    mode === 'Nest alone'
      ? []
      : [(await import('nest-sessions')).SessionsModule.forRoot({ secret: 'a secret' })];
  const app = await NestFactory.create({ module: AppModule, imports }, { logger: false });
  await app.listen(0, '127.0.0.1');
  process.stdout.write(String(performance.now()));
  process.exit();
}

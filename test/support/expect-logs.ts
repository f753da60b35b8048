import { Logger } from '@nestjs/common';
import { afterAll, beforeAll } from 'vitest';

/** In this describe the storage fails on purpose: what is logged of it is not shown, unless TEST_LOG is set. */
export function expectLogs(): void {
  beforeAll(() => Logger.overrideLogger(Boolean(process.env.TEST_LOG)));
  afterAll(() => Logger.overrideLogger(true));
}

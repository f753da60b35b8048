import type { Logger } from '@nestjs/common';
import { SessionHttpException } from '../exceptions/session.exception.js';
import type { ResponseHook } from './response-hook.js';

/** Answers in place of a response that could not be sent, as its session is not stored: as Nest's own filter would. */
export function answerFailure(hook: ResponseHook, error: unknown, logger: Logger): void {
  const isForClient = error instanceof SessionHttpException;
  if (!isForClient) {
    logger.error(error);
  }
  const statusCode = isForClient ? error.getStatus() : 500;
  const message = isForClient ? error.message : 'Internal server error';
  hook.replace(
    statusCode,
    { 'Content-Type': 'application/json; charset=utf-8' },
    JSON.stringify({ statusCode, message }),
  );
}

import {
  Catch,
  HttpException,
  Logger,
  NotImplementedException,
  type ArgumentsHost,
  type ExceptionFilter,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { SessionUnsupportedException } from 'nest-sessions';
import { errorPage } from './views/error.view.js';

/** Errors as pages, on Express and Fastify alike. */
@Catch()
export class ErrorPageFilter implements ExceptionFilter {
  private readonly logger = new Logger('Shop');

  constructor(private readonly host: HttpAdapterHost) {}

  catch(thrown: unknown, host: ArgumentsHost): void {
    const error =
      thrown instanceof SessionUnsupportedException
        ? new NotImplementedException('Our session storage cannot do that')
        : thrown;
    const isForVisitors = error instanceof HttpException;
    const status = isForVisitors ? error.getStatus() : 500;
    if (!isForVisitors) {
      this.logger.error(error);
    }
    const { httpAdapter } = this.host;
    const response: unknown = host.switchToHttp().getResponse();
    httpAdapter.setHeader(response, 'Content-Type', 'text/html; charset=utf-8');
    const message = isForVisitors ? error.message : 'Something went wrong in our kitchen';
    httpAdapter.reply(response, errorPage(status, message).toString(), status);
  }
}

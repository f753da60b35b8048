import type { ServerResponse } from 'node:http';
import { SessionHttpException } from '../exceptions/session.exception.js';
import { isHttp1, park, unpark } from './nest-internals.js';
import type { RequestContext } from './request-context.js';

type Method = 'writeHead' | 'flushHeaders' | 'write' | 'end';
type Call = [Method, unknown[]];
type Work = Promise<void> | undefined;
type NextState = 'ready' | 'sent';

/** What describes a body that is not sent. Other headers (CORS, security) stay. */
const OF_BODY =
  /^(content-|transfer-encoding|etag|last-modified|accept-ranges|location|cache-control|expires)/;

/**
 * Holds a raw response back until the session is stored, however it is sent. Meanwhile `write` and `end` are queued, and
 * for all else the response is what it would be had it been sent: see `park`.
 *
 * `open` (nothing was sent) → `waiting` → `ready` → `sent` → `ended`. What is still open a tick after its headers is
 * `streaming`; its end waits once more. `replaced`: the session could not be stored, and another answer has gone.
 */
export class ResponseHook {
  private state: NextState | 'open' | 'waiting' | 'streaming' | 'ended' | 'replaced';
  private readonly queue: Call[] = [];
  private readonly originals: Record<Method, (...args: any[]) => any>;

  constructor(
    private readonly res: ServerResponse,
    private readonly context: RequestContext,
  ) {
    const { writeHead, flushHeaders, write, end } = res;
    this.originals = { writeHead, flushHeaders, write, end };
    this.state = res.headersSent ? 'streaming' : 'open';
    // One by one, by name: a loop over the names takes several times as long.
    res.writeHead = (...args: unknown[]): any => this.pass('writeHead', args);
    res.flushHeaders = (...args: unknown[]): any => this.pass('flushHeaders', args);
    res.write = (...args: unknown[]): any => this.pass('write', args);
    res.end = (...args: unknown[]): any => this.pass('end', args);
    res.on('close', () => context.onClose());
  }

  /** Answers in place of what was held back, as Nest's own filter would; later calls of the handler go nowhere. */
  fail(error: unknown): void {
    const { res, context } = this;
    if (res.headersSent) {
      res.destroy(); // all that can still be told is that the answer is not complete
      return;
    }
    const isForClient = error instanceof SessionHttpException;
    if (!isForClient) {
      context.runtime.logger.error(error);
    }
    const answer = isForClient ? error : new SessionHttpException('Internal server error', 500);
    for (const name of res.getHeaderNames().filter(header => OF_BODY.test(header))) {
      res.removeHeader(name);
    }
    res.statusCode = answer.getStatus();
    if (isHttp1(res)) {
      res.statusMessage = '';
    }
    res.setHeader('Content-Type', 'application/json; charset=utf-8');
    this.send('end', [JSON.stringify(answer.getResponse())]);
    this.state = 'replaced';
  }

  private pass(method: Method, args: unknown[]): unknown {
    switch (this.state) {
      case 'open':
        return this.begin(method, args);
      case 'waiting':
        // After the end, too: who hooked the response before, as compression does, has yet to see the first one.
        if (method === 'write' || method === 'end') {
          return this.enqueue(method, args);
        }
        // There is no header yet that could be flushed; all else fails as it does after the headers.
        return method === 'flushHeaders' ? undefined : this.call(method, args);
      case 'ready':
        return this.send(method, args);
      case 'streaming':
        return method === 'end'
          ? this.callAfter(this.context.beforeEnd(), 'sent', method, args)
          : this.call(method, args);
      case 'sent':
        return method === 'end' ? this.finish(args) : this.call(method, args);
      case 'ended':
        return this.call(method, args);
      case 'replaced':
        return method === 'write' ? false : this.res;
    }
  }

  /** The first call that would send something. */
  private begin(method: Method, args: unknown[]): unknown {
    const statusCode = this.statusOf(method, args);
    // At once: they stay if another answer has to take this one's place, and a bad one throws at the caller.
    const rest = method === 'writeHead' ? takeOverHeaders(this.res, args) : args;
    return this.callAfter(this.context.beforeHeaders(statusCode), 'ready', method, rest);
  }

  /** The headers go out now, with this call. */
  private send(method: Method, args: unknown[]): unknown {
    this.state = 'sent';
    this.context.onHeaders(this.statusOf(method, args));
    if (method !== 'end') {
      // Most frameworks send headers and body in one go; what is still open a tick later is a stream.
      process.nextTick(() => {
        if (this.state === 'sent') {
          this.state = 'streaming';
        }
      });
    }
    return this.pass(method, args);
  }

  private finish(args: unknown[]): unknown {
    const result = this.call('end', args);
    this.state = 'ended';
    this.context.open!.answer();
    return result;
  }

  /** @param next the state to make the call in, once the work is done, if there is any */
  private callAfter(work: Work, next: NextState, method: Method, args: unknown[]): unknown {
    if (work) {
      void this.wait(work, next);
      return this.enqueue(method, args);
    }
    this.state = next;
    return this.pass(method, args);
  }

  private async wait(work: Work, next: NextState): Promise<void> {
    const { res } = this;
    const status = { statusCode: res.statusCode, ...(isHttp1(res) && { statusMessage: res.statusMessage }) };
    this.state = 'waiting';
    try {
      try {
        await work;
      } finally {
        unpark(res);
        Object.assign(res, status); // what was set meanwhile came too late
      }
      this.state = next;
      this.replay();
    } catch (error) {
      // Also of a call in the queue, with a wrong status, say: its handler is past, and cannot catch it.
      this.queue.length = 0;
      this.fail(error);
    }
  }

  private enqueue(...call: Call): unknown {
    const [method] = call;
    this.queue.push(call);
    park(this.res, method === 'end');
    return method === 'write' ? false : this.res;
  }

  private replay(): void {
    let isFlowing = false;
    for (const [method, args] of this.queue.splice(0)) {
      const result = this.pass(method, args);
      isFlowing = method === 'write' ? result === true : isFlowing;
    }
    if (isFlowing && !this.res.writableEnded) {
      // write() said "wait for drain", and nothing is there to drain.
      this.res.emit('drain');
    }
  }

  private call(method: Method, args: unknown[]): unknown {
    return this.originals[method].apply(this.res, args);
  }

  private statusOf(method: Method, args: unknown[]): number {
    return method === 'writeHead' ? (args[0] as number) : this.res.statusCode;
  }
}

/** Headers given to writeHead() become headers of the response, where others can be added to them. */
function takeOverHeaders(res: ServerResponse, args: unknown[]): unknown[] {
  const headers = args.at(-1);
  if (args.length < 2 || typeof headers !== 'object' || headers === null) {
    return args;
  }
  if (Array.isArray(headers)) {
    const pairs: [string, string][] = Array.isArray(headers[0])
      ? headers
      : headers.flatMap((name, index) => (index % 2 === 0 ? [[name, headers[index + 1]]] : []));
    pairs.forEach(([name]) => res.removeHeader(name));
    pairs.forEach(([name, value]) => res.appendHeader(name, value));
  } else {
    for (const [name, value] of Object.entries(headers)) {
      res.setHeader(name, value);
    }
  }
  return args.slice(0, -1);
}

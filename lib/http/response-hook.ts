import type { ServerResponse } from 'node:http';
import { callParked, park, unpark } from './nest-internals.js';

/** What has to happen around a response; a promise is waited for, undefined is not. */
export interface ResponseHandlers {
  /** Before the headers go out. What it rejects with is answered by `onFailure`. */
  beforeHeaders(statusCode: number): Promise<void> | undefined;
  /** As the headers go out: the last moment to set some. */
  onHeaders(statusCode: number): void;
  /** Before the end of a response that took a while: a stream. */
  beforeEnd(): Promise<void> | undefined;
  /** Answers in place of a response whose `beforeHeaders` failed. Nothing has been sent. */
  onFailure(error: unknown): void;
  /** The whole answer is on its way. */
  onEnd(): void;
  /** The connection is done with, for whatever reason. */
  onClose(): void;
}

type Method = 'writeHead' | 'flushHeaders' | 'write' | 'end';

/**
 * Holds a raw response back until the session is stored, however it is sent. Meanwhile `write` and `end` are queued, and
 * for all else the response is what it would be had it been sent: see `park`.
 *
 * `open` (nothing was sent) → `waiting` → `sent`; or → `replaced`, if the session could not be stored.
 */
export class ResponseHook {
  private state: 'open' | 'waiting' | 'sent' | 'replaced' = 'open';
  /** Whether the end of the response may be long after its headers. */
  private isStream = false;
  private isEnded = false;
  private readonly queue: [Method, unknown[]][] = [];
  private readonly originals: Record<Method, (...args: any[]) => any>;

  constructor(
    private readonly res: ServerResponse,
    private readonly handlers: ResponseHandlers,
  ) {
    this.originals = {
      writeHead: res.writeHead,
      flushHeaders: res.flushHeaders,
      write: res.write,
      end: res.end,
    };
    if (res.headersSent) {
      this.state = 'sent';
      this.isStream = true;
    }
    // One by one, by name: a loop over the names takes several times as long.
    res.writeHead = (...args: unknown[]): any => this.pass('writeHead', args);
    res.flushHeaders = (...args: unknown[]): any => this.pass('flushHeaders', args);
    res.write = (...args: unknown[]): any => this.pass('write', args);
    res.end = (...args: unknown[]): any => this.pass('end', args);
    res.on('close', () => handlers.onClose());
  }

  /** Sends an answer in place of the one that was held back; later calls of the handler go nowhere. */
  replace(statusCode: number, headers: Record<string, string>, body: string): void {
    const { res } = this;
    for (const name of res.getHeaderNames()) {
      // What describes the body that is not sent. Others (CORS, security) stay.
      if (
        /^(content-|transfer-encoding|etag|last-modified|accept-ranges|location|cache-control|expires)/.test(
          name,
        )
      ) {
        res.removeHeader(name);
      }
    }
    res.statusCode = statusCode;
    res.statusMessage = '';
    for (const [name, value] of Object.entries(headers)) {
      res.setHeader(name, value);
    }
    this.state = 'sent';
    this.handlers.onHeaders(statusCode);
    this.finish([body]);
    this.state = 'replaced';
  }

  private pass(method: Method, args: unknown[]): unknown {
    switch (this.state) {
      case 'replaced':
        return method === 'write' ? false : this.res;
      case 'waiting':
        return this.hold(method, args);
      case 'open':
        return this.begin(method, args);
      case 'sent':
        return method !== 'end' || this.isEnded
          ? this.call(method, args)
          : this.isStream
            ? this.endStream(args)
            : this.finish(args);
    }
  }

  /** The first call that would send something. */
  private begin(method: Method, args: unknown[]): unknown {
    const statusCode = method === 'writeHead' ? (args[0] as number) : this.res.statusCode;
    // At once: they stay if another answer has to take this one's place, and a bad one throws at the caller.
    const rest = method === 'writeHead' ? takeOverHeaders(this.res, args) : args;
    const work = this.handlers.beforeHeaders(statusCode);
    if (!work) {
      return this.send(method, rest);
    }
    this.wait(work, error => {
      this.queue.length = 0;
      this.handlers.onFailure(error);
    });
    return this.enqueue(method, rest);
  }

  /** The headers go out now, with this call. */
  private send(method: Method, args: unknown[]): unknown {
    this.state = 'sent';
    this.handlers.onHeaders(method === 'writeHead' ? (args[0] as number) : this.res.statusCode);
    if (method === 'end') {
      return this.finish(args);
    }
    // Most frameworks send headers and body in one go; what is still open a tick later is a stream.
    process.nextTick(() => {
      this.isStream = true;
    });
    return this.call(method, args);
  }

  private endStream(args: unknown[]): unknown {
    const work = this.handlers.beforeEnd();
    if (!work) {
      return this.finish(args);
    }
    this.isStream = false;
    // The headers are out: all that can still be told is that the answer is not complete.
    this.wait(work, () => this.res.destroy());
    return this.enqueue('end', args);
  }

  private finish(args: unknown[]): unknown {
    const result = this.call('end', args);
    this.isEnded = true;
    this.handlers.onEnd();
    return result;
  }

  private wait(work: Promise<void>, onError: (error: unknown) => void): void {
    const wasSent = this.state === 'sent';
    const { statusCode, statusMessage } = this.res;
    this.state = 'waiting';
    const resume = () => {
      unpark(this.res);
      Object.assign(this.res, { statusCode, statusMessage }); // what was set meanwhile came too late
    };
    work.then(
      () => {
        resume();
        try {
          this.replay(wasSent);
        } catch (error) {
          // A wrong status, say: the handler that made the call is past, and cannot catch it.
          if (this.res.headersSent) {
            this.res.destroy();
          } else {
            this.handlers.onFailure(error);
          }
        }
      },
      error => {
        resume();
        onError(error);
      },
    );
  }

  /** What is called while it waits. */
  private hold(method: Method, args: unknown[]): unknown {
    if (!this.isEnded && (method === 'write' || method === 'end')) {
      return this.enqueue(method, args);
    }
    // There is no header yet that could be flushed; all else fails as it does after the headers, or after the end.
    return method === 'flushHeaders' ? undefined : callParked(this.res, () => this.call(method, args));
  }

  private enqueue(method: Method, args: unknown[]): unknown {
    this.queue.push([method, args]);
    this.isEnded = method === 'end';
    park(this.res, this.isEnded);
    return method === 'write' ? false : this.res;
  }

  private replay(wasSent: boolean): void {
    const calls = this.queue.splice(0);
    let flowing: unknown;
    this.state = wasSent ? 'sent' : 'open';
    for (const [method, args] of calls) {
      const result =
        this.state === 'open'
          ? this.send(method, args)
          : method === 'end'
            ? this.finish(args)
            : this.call(method, args);
      flowing = method === 'write' ? result : flowing;
    }
    if (flowing === true && !this.res.writableEnded) {
      // write() said "wait for drain", and nothing is there to drain.
      this.res.emit('drain');
    }
  }

  private call(method: Method, args: unknown[]): unknown {
    return this.originals[method].apply(this.res, args);
  }
}

/** Headers given to writeHead() become headers of the response, where others can be added to them. */
function takeOverHeaders(res: ServerResponse, args: unknown[]): unknown[] {
  const headers = args.at(-1);
  if (args.length < 2 || typeof headers !== 'object' || headers === null) {
    return args;
  }
  if (Array.isArray(headers)) {
    const pairs = Array.isArray(headers[0]) ? (headers as [string, string][]) : toPairs(headers);
    pairs.forEach(([name]) => res.removeHeader(name));
    pairs.forEach(([name, value]) => res.appendHeader(name, value));
  } else {
    for (const [name, value] of Object.entries(headers)) {
      res.setHeader(name, value as string);
    }
  }
  return args.slice(0, -1);
}

function toPairs(flat: string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let index = 0; index + 1 < flat.length; index += 2) {
    pairs.push([flat[index]!, flat[index + 1]!]);
  }
  return pairs;
}

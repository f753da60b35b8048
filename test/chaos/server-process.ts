import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Agent } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { sendRaw, type Answer } from '../support/client.js';

/** Characters of what it wrote to stderr that are kept. */
const MAX_STDERR = 4000;
/** How often it is started, where its storage does not answer. Each takes a second or more. */
const RESTARTS = 10;

/** One process of the application, which is killed, stopped and started again. */
export class ServerProcess {
  /** Whether it takes requests. */
  isUp = false;
  /** How often it was started. */
  starts = 0;
  /** That it ended by itself, or nobody caught an error. */
  crash: string | undefined;
  private process: ChildProcess | undefined;
  private port = 0;
  private stderr = '';
  private isEndWanted = false;
  private agent = new Agent({ keepAlive: true });

  /**
   * @param programs the folder of the compiled programs
   * @param adapter express or fastify
   * @param options of the sessions
   */
  constructor(
    readonly index: number,
    private readonly programs: string,
    readonly adapter: string,
    private readonly options: object,
  ) {}

  get pid(): number {
    return this.process!.pid!;
  }

  /** Starts it, on the same port as before. @throws if it ends before it listens */
  async start(): Promise<void> {
    const env = {
      ...process.env,
      ADAPTER: this.adapter,
      SESSION_OPTIONS: JSON.stringify(this.options),
      PORT: String(this.port),
    };
    const file = join(this.programs, 'chaos-server.js');
    const child = spawn(process.execPath, [file], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.process = child;
    this.isEndWanted = false;
    this.starts++;
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-MAX_STDERR);
      if (/unhandled|uncaught/i.test(text)) {
        this.crash ??= text.slice(0, 500);
      }
    });
    child.once('exit', (code, signal) => {
      if (!this.isEndWanted) {
        this.isUp = false;
        this.crash ??= `ended by itself (${code ?? signal}): ${this.stderr.slice(-1000)}`;
      }
    });
    const lines = createInterface({ input: child.stdout });
    await new Promise<void>((resolve, reject) => {
      child.once('exit', () => reject(new Error(`A server did not start:\n${this.stderr}`)));
      lines.on('line', line => {
        const [, port] = /^listening (\d+)$/.exec(line) ?? [];
        if (port) {
          this.port = Number(port);
          resolve();
        }
      });
    });
    this.isUp = true;
  }

  /** As whoever runs it does: one that did not start, as its storage is in trouble too, is started again. */
  async restart(): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.start();
      } catch (error) {
        if (tries === RESTARTS || !/did not answer within|ECONNREFUSED/.test(this.crash ?? '')) {
          throw error;
        }
        this.crash = undefined;
      }
    }
  }

  async kill(): Promise<void> {
    await this.end('SIGKILL');
  }

  /** @returns how it ended; it must be by itself, and with 0 */
  async close(): Promise<string> {
    this.agent.destroy(); // its idle connections would keep the server up
    return this.end('SIGTERM');
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.process!.kill(signal);
  }

  /** What it must not outlive. */
  killAtExit(): void {
    this.isEndWanted = true;
    this.process?.kill('SIGKILL');
  }

  /** A request to the process itself. */
  async command(name: 'clock' | 'block' | 'state', body: object = {}): Promise<any> {
    return (await this.post(name, body)).json();
  }

  /** @param cookie the session's id */
  post(path: string, body: object, cookie?: string, signal?: AbortSignal): Promise<Answer> {
    const text = JSON.stringify(body);
    return sendRaw(`http://127.0.0.1:${this.port}/${path}`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(text),
        ...(cookie && { cookie: `session_id=${cookie}` }),
      },
      body: text,
      agent: this.agent,
      ...(signal && { signal }),
    });
  }

  private async end(signal: NodeJS.Signals): Promise<string> {
    const child = this.process!;
    this.isUp = false;
    this.isEndWanted = true;
    if (child.exitCode === null && child.signalCode === null) {
      const exit = once(child, 'exit');
      child.kill('SIGCONT');
      child.kill(signal);
      await exit;
    }
    this.agent.destroy();
    this.agent = new Agent({ keepAlive: true });
    return String(child.exitCode ?? child.signalCode);
  }
}

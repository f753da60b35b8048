import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { SessionModuleOptions } from 'nest-sessions';
import { afterFile } from './after-file.js';
import { ADAPTERS, type AdapterName } from './app.js';
import { buildPrograms } from './build-programs.js';
import { times } from './times.js';

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** A program that serves HTTP. */
export interface ServerProgram {
  program: Program;
  /** Like http://127.0.0.1:41234 */
  url: string;
}

/** A program of test/programs/ in a process of its own. */
export class Program {
  /** What it has printed so far, line by line. After `exited`, all of it. */
  readonly lines: string[] = [];
  /** What it has written to stderr so far. */
  stderr = '';
  /** Resolves when the process is gone and all its output is here. */
  readonly exited: Promise<Exit>;
  private exit: Exit | undefined;
  private readonly waiters = new Set<() => void>();

  constructor(
    private readonly name: string,
    readonly process: ChildProcess,
  ) {
    afterFile(() => process.kill('SIGKILL')); // what a failed test left
    createInterface({ input: process.stdout! }).on('line', line => {
      this.lines.push(line);
      this.wakeUp();
    });
    process.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.exited = once(process, 'close').then(([code, signal]) => {
      this.exit = { code, signal };
      this.wakeUp();
      return this.exit;
    });
  }

  /** Sends a signal. @returns how the process ended */
  kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<Exit> {
    this.process.kill(signal);
    return this.exited;
  }

  /** SIGSTOP and SIGCONT: it hangs, and goes on. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.process.kill(signal);
  }

  /** The first line that fits, printed already or yet to come. @throws if the program ends without it */
  async waitForLine(pattern: RegExp, timeoutMs = 20_000): Promise<RegExpMatchArray> {
    const deadline = Date.now() + timeoutMs;
    for (let index = 0; ; index++) {
      while (index >= this.lines.length) {
        if (this.exit || Date.now() >= deadline) {
          const why = this.exit ? `ended (${this.exit.code ?? this.exit.signal})` : 'took too long';
          throw new Error(`${this.name} ${why} before it printed ${pattern}\n${this.stderr}`);
        }
        await this.nextChange(deadline - Date.now());
      }
      const match = this.lines[index]!.match(pattern);
      if (match) {
        return match;
      }
    }
  }

  /** How often it has printed a line so far. */
  count(line: string): number {
    return this.lines.filter(printed => printed === line).length;
  }

  private nextChange(timeoutMs: number): Promise<void> {
    return new Promise(resolve => {
      const wake = () => {
        clearTimeout(timer);
        this.waiters.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, timeoutMs);
      this.waiters.add(wake);
    });
  }

  private wakeUp(): void {
    this.waiters.forEach(wake => wake());
  }
}

/**
 * Starts a program of test/programs/.
 * @param name its file, without extension
 */
export async function startProgram(name: string, env: Record<string, string> = {}): Promise<Program> {
  const file = join(await buildPrograms(), `${name}.js`);
  const child = spawn(process.execPath, [file], { env: { ...process.env, ...env }, stdio: 'pipe' });
  return new Program(name, child);
}

/** Starts a program that serves HTTP and prints `listening <port>`. */
export async function startServer(name: string, env: Record<string, string> = {}): Promise<ServerProgram> {
  const program = await startProgram(name, env);
  const [, port] = await program.waitForLine(/^listening (\d+)$/);
  return { program, url: `http://127.0.0.1:${port}` };
}

/** Processes that share one storage, with Express and Fastify in turns. */
export function startSessionServers(count: number, options: SessionModuleOptions): Promise<ServerProgram[]> {
  return times(count, index => startSessionServer(options, ADAPTERS[index % 2]!));
}

/** A process that does to sessions what a test asks for. */
export function startSessionServer(
  options: SessionModuleOptions,
  adapter: AdapterName,
): Promise<ServerProgram> {
  return startServer('session-server', { ADAPTER: adapter, SESSION_OPTIONS: JSON.stringify(options) });
}

import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { CookieJar } from 'tough-cookie';

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  setCookies: string[];
  body: string;
  json(): any;
}

export interface RequestOptions {
  method?: string;
  headers?: Record<string, string>;
  body?: unknown;
  signal?: AbortSignal;
}

/** One browser: keeps its cookies by a real cookie library, and its connections open. */
export class Client {
  readonly jar = new CookieJar();
  private readonly agent = new Agent({ keepAlive: true });

  constructor(readonly base: string) {}

  get(path: string, options: RequestOptions = {}): Promise<Answer> {
    return this.send(path, options);
  }

  post(path: string, options: RequestOptions = {}): Promise<Answer> {
    return this.send(path, { method: 'POST', ...options });
  }

  /** The value of the session's cookie, if the jar holds one. */
  async cookie(name = 'session_id', url = this.base): Promise<string | undefined> {
    return (await this.jar.getCookies(url)).find(cookie => cookie.key === name)?.value;
  }

  close(): void {
    this.agent.destroy();
  }

  private async send(path: string, options: RequestOptions): Promise<Answer> {
    const url = this.base + path;
    const cookie = await this.jar.getCookieString(url);
    const body = options.body === undefined ? undefined : JSON.stringify(options.body);
    const headers: Record<string, string> = { ...(cookie && { cookie }), ...options.headers };
    if (body !== undefined) {
      headers['content-type'] = 'application/json';
      headers['content-length'] = String(Buffer.byteLength(body));
    }
    const answer = await sendRaw(url, { ...options, headers, agent: this.agent, body });
    for (const setCookie of answer.setCookies) {
      await this.jar.setCookie(setCookie, url);
    }
    return answer;
  }
}

/** One request as it is, without a cookie jar. */
export function sendRaw(
  url: string,
  options: {
    method?: string;
    headers?: Record<string, any>;
    body?: string | undefined;
    agent?: Agent;
    signal?: AbortSignal;
  } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', headers, body, agent, signal } = options;
    const req = httpRequest(url, { method, headers, agent, signal }, res => {
      const chunks: Buffer[] = [];
      res.on('data', chunk => chunks.push(chunk));
      res.on('error', reject);
      res.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        resolve({
          status: res.statusCode!,
          headers: res.headers,
          setCookies: res.headers['set-cookie'] ?? [],
          body: text,
          json: () => JSON.parse(text),
        });
      });
    });
    req.on('error', reject);
    req.end(body);
  });
}

import type { RedisConnection } from './redis.connection.js';

/** Keys that one command looks at, about. */
const PAGE = 1_000;
/** Keys that wait to be sorted, so many times what is asked for. */
const SLACK = 4;

const SESSION_KEY = /^[A-Za-z0-9_-]{43}$/;

/** The keys of all sessions, by SCAN: the servers do others' work in between. */
export class RedisKeys {
  constructor(
    private readonly connection: RedisConnection,
    private readonly prefix: string,
  ) {}

  async count(): Promise<number> {
    const keys = new Set<string>(); // SCAN may give one twice
    await this.each(key => keys.add(key));
    return keys.size;
  }

  /** @returns the first keys in their order, so many at most */
  async firstAfter(after: string | undefined, limit: number): Promise<string[]> {
    const first = () => Array.from(keys).sort().slice(0, limit);
    let keys = new Set<string>();
    let end: string | undefined;
    await this.each(key => {
      if ((after === undefined || key > after) && (end === undefined || key < end)) {
        keys.add(key);
      }
      if (keys.size > SLACK * limit) {
        const kept = first();
        keys = new Set(kept);
        end = kept.at(-1);
      }
    });
    return first();
  }

  private async each(use: (key: string) => void): Promise<void> {
    const pattern = `${this.prefix.replace(/[\\*?[\]]/g, '\\$&')}${'?'.repeat(43)}`;
    for (const send of await this.connection.masters()) {
      let cursor = '0';
      do {
        const reply = await send(['SCAN', cursor, 'MATCH', pattern, 'COUNT', String(PAGE), 'TYPE', 'hash']);
        const [next, names] = reply as [unknown, unknown[]];
        for (const name of names) {
          const key = String(name).slice(this.prefix.length);
          if (SESSION_KEY.test(key)) {
            use(key);
          }
        }
        cursor = String(next);
      } while (cursor !== '0');
    }
  }
}

import type { SessionBackend } from '../storage/session-backend.js';
import { newKey } from './fixtures.js';
import type { TestRunner } from './test-runner.js';
import type { TestStorage } from './test-storage.js';

/** A method that a storage may leave out. */
type Optional = 'count' | 'list' | 'findByOwner' | 'deleteByOwner' | 'admit';
type Having<Needed extends Optional> = SessionBackend & Required<Pick<SessionBackend, Needed>>;

/** What a test works on: a storage with nothing in it. */
export interface Subject<Needed extends Optional = never> {
  /** Two clients of the storage; what one does, the other sees. */
  one: Having<Needed>;
  two: Having<Needed>;
  /** A key that nothing is stored under yet. */
  key: string;
  /** The storage removes by itself what has expired. */
  sweepsItself: boolean;
}

/** Milliseconds that a test may take; most take a few, against a slow storage some take seconds. */
const TIMEOUT = 60_000;

/** The tests of one storage, as they are told to a runner. */
export class Suite {
  constructor(
    readonly name: string,
    private readonly open: () => Promise<TestStorage>,
    private readonly runner: TestRunner,
  ) {}

  readonly describe = (title: string, define: () => void): void => {
    this.runner.describe(title, define);
  };

  /** @param methods without which a test is skipped @returns `it` for a test that needs them */
  readonly needing =
    <Needed extends Optional = never>(...methods: Needed[]) =>
    (title: string, test: (subject: Subject<Needed>) => Promise<void>): void => {
      // A rest parameter: Jest takes a test with a parameter for one that calls back.
      const run = async (...[context]: { skip?(reason: string): void }[]): Promise<void> => {
        const { clients, close, sweepsItself = false } = await this.open();
        try {
          const [one, two] = clients as [Having<Needed>, Having<Needed>];
          const missing = methods.filter(method => !one[method] || !two[method]);
          if (missing.length === 0) {
            await test({ one, two, key: newKey(), sweepsItself });
          } else {
            // Jest's tests cannot say that they were skipped: there it passes.
            context?.skip?.(`the storage has no ${missing.join(', ')}`);
          }
        } finally {
          await close();
        }
      };
      this.runner.it(title, run, TIMEOUT);
    };

  /** A test with a storage of its own. */
  readonly it = this.needing();
}

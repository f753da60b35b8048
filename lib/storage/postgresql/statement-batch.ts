/** How many go out in one statement at most. */
const MAX_SIZE = 64;
/** Milliseconds after which the next statement goes out all the same: one that waits for a row holds up no other. */
const PATIENCE = 10;

interface Waiting<Item, Result> {
  item: Item;
  resolve: (result: Result) => void;
  reject: (error: unknown) => void;
}

/**
 * Sends what is asked for in one tick, or while a statement is under way, together: a busy process needs a fraction of the
 * statements, and of the commits.
 */
export class StatementBatch<Item, Result> {
  private waiting: Waiting<Item, Result>[] = [];
  private underWay = 0;
  private impatience: NodeJS.Timeout | undefined;

  /**
   * @param runOne the statement for one
   * @param runMany the statement for several: the results in their order
   * @param isOfOne whether a statement for several failed for one's sake, so that each is to be tried by itself
   */
  constructor(
    private readonly runOne: (item: Item) => Promise<Result>,
    private readonly runMany: (items: Item[]) => Promise<Result[]>,
    private readonly isOfOne: (error: unknown) => boolean,
  ) {}

  run(item: Item): Promise<Result> {
    if (this.underWay > 0) {
      this.impatience ??= setTimeout(() => this.sendNext(), PATIENCE);
    } else if (this.waiting.length === 0) {
      queueMicrotask(() => this.sendNext());
    }
    return new Promise((resolve, reject) => {
      this.waiting.push({ item, resolve, reject });
    });
  }

  private track<T>(statement: Promise<T>): Promise<T> {
    this.underWay++;
    const onEnd = () => {
      this.underWay--;
      this.sendNext();
    };
    statement.then(onEnd, onEnd);
    return statement;
  }

  private sendNext(): void {
    clearTimeout(this.impatience);
    this.impatience = undefined;
    const batch = this.waiting.splice(0, MAX_SIZE);
    if (this.waiting.length > 0) {
      this.impatience = setTimeout(() => this.sendNext(), PATIENCE);
    }
    if (batch.length === 1) {
      const [{ item, resolve, reject }] = batch as [Waiting<Item, Result>];
      this.track(this.runOne(item)).then(resolve, reject);
    } else if (batch.length > 1) {
      void this.sendAll(batch);
    }
  }

  private async sendAll(batch: Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await this.track(this.runMany(batch.map(({ item }) => item)));
      batch.forEach(({ resolve }, index) => resolve(results[index]!));
    } catch (error) {
      for (const { item, resolve, reject } of batch) {
        if (this.isOfOne(error)) {
          this.runOne(item).then(resolve, reject);
        } else {
          reject(error);
        }
      }
    }
  }
}

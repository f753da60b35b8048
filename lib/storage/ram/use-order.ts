/** What is kept in an order of use: an item has its own place in it, and is in one order at a time. */
export interface Ordered<Item extends Ordered<Item>> {
  order?: UseOrder<Item> | undefined;
  before?: Item | undefined;
  after?: Item | undefined;
}

/**
 * Items in order of use: the first is the one that was used longest ago. Each step takes the same time, however many
 * there are and were. (A Map keeps this order too, but looks for its first key among the holes of those that were
 * removed.)
 */
export class UseOrder<Item extends Ordered<Item>> {
  first: Item | undefined;
  private last: Item | undefined;

  /** Puts an item at the end, out of whichever order it was in. */
  use(item: Item): void {
    if (this.last === item) {
      return;
    }
    item.order?.remove(item);
    item.order = this;
    item.before = this.last;
    if (this.last) {
      this.last.after = item;
    } else {
      this.first = item;
    }
    this.last = item;
  }

  remove(item: Item): void {
    const { before, after } = item;
    if (before) {
      before.after = after;
    } else {
      this.first = after;
    }
    if (after) {
      after.before = before;
    } else {
      this.last = before;
    }
    item.order = item.before = item.after = undefined;
  }

  clear(): void {
    this.first = this.last = undefined;
  }
}

import { isLeased, type RamEntry } from './ram-entry.js';
import { UseOrder } from './use-order.js';

/** In which order sessions go where there are too many. Each is in one of three orders of use. */
export class EvictionOrder {
  private readonly anonymous = new UseOrder<RamEntry>();
  private readonly owned = new UseOrder<RamEntry>();
  /** Those that a request works on, whoever's they are. */
  private readonly locked = new UseOrder<RamEntry>();

  /** To the end of the order that it belongs to now. */
  use(entry: RamEntry): void {
    const { anonymous, owned, locked } = this;
    const order = isLeased(entry) ? locked : entry.owner === undefined ? anonymous : owned;
    order.use(entry);
  }

  remove(entry: RamEntry): void {
    entry.order?.remove(entry);
  }

  /** The one that is missed least: one that has expired, and of those in use, one only if there is no other. */
  first(): RamEntry | undefined {
    // A holder that has died gives nothing back. Who took a lease first is the first whose lease lapses.
    for (let entry = this.locked.first; entry && !isLeased(entry); entry = this.locked.first) {
      this.use(entry);
    }
    const { anonymous, owned, locked } = this;
    const firsts = [anonymous.first, owned.first, locked.first].filter(each => each !== undefined);
    return firsts.find(({ expiresAt }) => expiresAt <= Date.now()) ?? firsts[0];
  }

  clear(): void {
    [this.anonymous, this.owned, this.locked].forEach(order => order.clear());
  }
}

/** The keys of each owner's sessions. */
export class OwnerKeys {
  private readonly byOwner = new Map<string, Set<string>>();

  keysOf(owner: string): Iterable<string> {
    return this.byOwner.get(owner) ?? [];
  }

  /** @param from undefined: it was nobody's @param to undefined: it is nobody's any more */
  move(key: string, from: string | undefined, to: string | undefined): void {
    if (from !== undefined) {
      const keys = this.byOwner.get(from);
      keys?.delete(key);
      if (keys?.size === 0) {
        this.byOwner.delete(from);
      }
    }
    if (to !== undefined) {
      const keys = this.byOwner.get(to);
      if (keys) {
        keys.add(key);
      } else {
        this.byOwner.set(to, new Set([key]));
      }
    }
  }

  clear(): void {
    this.byOwner.clear();
  }
}

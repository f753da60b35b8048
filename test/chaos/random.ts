/** Numbers that a seed replays. */
export class Random {
  private state: number;

  /** @param stream what it is for: each draws numbers of its own */
  constructor(seed: number, stream: string) {
    let state = seed >>> 0;
    for (const character of stream) {
      state = Math.imul(state ^ character.codePointAt(0)!, 0x9e3779b1) >>> 0;
    }
    this.state = state;
  }

  /** From 0 to below 1. By mulberry32. */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let mixed = this.state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number, both ends included. */
  between(from: number, to: number): number {
    return from + Math.floor(this.next() * (to - from + 1));
  }

  chance(share: number): boolean {
    return this.next() < share;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.between(0, list.length - 1)]!;
  }

  /** A name, as often as its weight says. */
  weighted<Name extends string>(weights: Partial<Record<Name, number>>): Name {
    const entries = Object.entries(weights) as [Name, number][];
    let left = this.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [name, weight] of entries) {
      left -= weight;
      if (left < 0) {
        return name;
      }
    }
    return entries.at(-1)![0];
  }

  /** As a session id is written. */
  id(): string {
    return Array.from({ length: 4 }, () =>
      this.between(0, 2 ** 32 - 1)
        .toString(16)
        .padStart(8, '0'),
    ).join('');
  }
}

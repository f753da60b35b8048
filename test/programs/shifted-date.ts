const RealDate = Date;
let shift = 0;

/** This process' clock goes on from another time, as when somebody sets it: its `Date`, not its timers. */
export function shiftClock(ms: number): void {
  shift = ms;
}

globalThis.Date = class extends RealDate {
  constructor(...args: unknown[]) {
    super(...((args.length > 0 ? args : [RealDate.now() + shift]) as [number]));
  }

  static override now(): number {
    return RealDate.now() + shift;
  }
} as DateConstructor;

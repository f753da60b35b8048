import type { ActiveSession } from './active-session.js';
import type { SessionValues } from './session-data.js';
import type { Session, SessionIdListener } from './session.js';

/** Untyped: which keys there are is declared by the application. */
type Values = Record<string, any>;

/**
 * Stands behind every session: a property that is no member is looked for here, and an assignment to it
 * throws, where a plain object would take a value that is never stored.
 */
const NoOtherProperties = function () {} as unknown as abstract new () => object;
NoOtherProperties.prototype = new Proxy(Object.create(null), {
  set(_target, property) {
    const name = String(property);
    throw new TypeError(
      `A session keeps no property '${name}'; use session.set('${name}', value) or session.data.${name} = value`,
    );
  },
});

/** The dictionary that applications see, over the session in use. */
export class SessionDict extends NoOtherProperties implements Session {
  readonly #active: ActiveSession;

  constructor(active: ActiveSession) {
    super();
    this.#active = active;
    if (new.target === SessionDict) {
      Object.preventExtensions(this);
    }
  }

  get(key: string, fallback?: any): any {
    const values = this.readable();
    return Object.hasOwn(values, key) ? values[key] : fallback;
  }

  set(key: string, value: unknown): this {
    assign(this.writable(), key, value);
    return this;
  }

  has(key: string): boolean {
    return Object.hasOwn(this.readable(), key);
  }

  delete(key: string): boolean {
    if (key === undefined) {
      throw new TypeError('session.delete(key) needs a key; to end the session, use session.destroy()');
    }
    const values = this.writable();
    return Object.hasOwn(values, key) && delete values[key];
  }

  pop(...args: [key: string, fallback?: any]): any {
    const [key, fallback] = args;
    const values = this.writable();
    if (!Object.hasOwn(values, key)) {
      if (args.length < 2) {
        throw new RangeError(`The session has no key '${key}'`);
      }
      return fallback;
    }
    const value = values[key];
    delete values[key];
    return value;
  }

  setDefault(key: string, value: any): any {
    const values = this.writable();
    if (!Object.hasOwn(values, key)) {
      assign(values, key, value);
    }
    return values[key];
  }

  update(other: Values): this {
    const values = this.writable();
    for (const [key, value] of Object.entries(other)) {
      assign(values, key, value);
    }
    return this;
  }

  clear(): void {
    const values = this.writable();
    for (const key of Object.keys(values)) {
      delete values[key];
    }
  }

  keys(): any[] {
    return Object.keys(this.readable());
  }

  values(): any[] {
    return Object.values(this.readable());
  }

  entries(): [any, any][] {
    return Object.entries(this.readable());
  }

  get size(): number {
    return this.keys().length;
  }

  [Symbol.iterator](): Iterator<[any, any]> {
    return this.entries()[Symbol.iterator]();
  }

  toJSON(): SessionValues {
    return this.readable() as SessionValues;
  }

  get data(): SessionValues {
    return this.readable() as SessionValues;
  }

  get id(): string {
    return this.#active.id;
  }

  get isNew(): boolean {
    return this.#active.isNew;
  }

  get originalId(): string | undefined {
    return this.#active.originalId;
  }

  get missing(): boolean {
    return this.#active.missing;
  }

  get regenerated(): boolean {
    return this.#active.regenerated;
  }

  get locked(): boolean {
    return this.#active.locked;
  }

  get loaded(): boolean {
    return this.#active.loaded;
  }

  get createdAt(): Date {
    return new Date(this.#active.createdAt);
  }

  get expiresAt(): Date {
    return new Date(this.#active.expiresAt);
  }

  get timeout(): number {
    return this.#active.timeout;
  }

  set timeout(minutes: number) {
    this.writable();
    if (!(Number.isFinite(minutes) && minutes > 0)) {
      throw new RangeError(`session.timeout must be a number of minutes above 0, not ${minutes}`);
    }
    this.#active.timeout = minutes;
  }

  get owner(): string | undefined {
    return this.#active.owner;
  }

  set owner(owner: string | undefined) {
    this.writable();
    if (owner !== undefined && typeof owner !== 'string') {
      throw new TypeError(
        `session.owner must be a string or undefined, not a ${typeof owner}; write String(user.id)`,
      );
    }
    this.#active.owner = owner;
  }

  load(): Promise<void> {
    return this.#active.load();
  }

  async reload(): Promise<void> {
    this.writable();
    await this.#active.reload();
  }

  async save(): Promise<void> {
    this.writable();
    await this.#active.save();
  }

  touch(): Promise<void> {
    return this.#active.touch();
  }

  async regenerate(): Promise<void> {
    this.writable();
    await this.#active.regenerate();
  }

  async destroy(): Promise<void> {
    this.writable();
    await this.#active.destroy();
  }

  expire(): void {
    this.writable();
    this.#active.expire();
  }

  async acquireLock(options: { timeout?: number } = {}): Promise<void> {
    this.writable();
    await this.#active.acquireLock(options.timeout);
  }

  async releaseLock(): Promise<void> {
    await this.#active.releaseLock();
  }

  onIdChange(listener: SessionIdListener): () => void {
    return this.#active.onIdChange(listener);
  }

  protected readable(): Values {
    return this.#active.useValues();
  }

  protected writable(): Values {
    return this.#active.useValues();
  }
}

/** The session as `@Session({ readOnly: true })` gives it: read without a lock, frozen. */
export class ReadOnlySessionDict extends SessionDict {
  readonly #values: Values;

  constructor(active: ActiveSession, values: Values) {
    super(active);
    this.#values = deepFreeze(values);
    Object.preventExtensions(this);
  }

  override async load(): Promise<void> {
    // It is; loading it again would lock it.
  }

  protected override readable(): Values {
    return this.#values;
  }

  protected override writable(): never {
    throw new TypeError('This session is read-only; to change it, take it with @Session() instead');
  }
}

/** As `target[key] = value`, but a key named `__proto__` is a key like any other. */
function assign(target: Values, key: string, value: unknown): void {
  if (key === '__proto__') {
    Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
  } else {
    target[key] = value;
  }
}

function deepFreeze<T extends object>(value: T): T {
  // Typed arrays cannot be frozen; neither can what a Map, a Set or a Date holds.
  if (!ArrayBuffer.isView(value) && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) {
      if (typeof inner === 'object' && inner !== null) {
        deepFreeze(inner);
      }
    }
  }
  return value;
}

import { addFlash, takeFlashes } from './flash-messages.js';
import { setValue } from './live-values.js';
import type { OpenSession } from './open-session.js';
import type { SessionValues } from './session-data.js';
import type { Session, SessionIdListener } from './session.js';
import type { SessionSettings } from '../storage/session-backend.js';

/** Untyped: which keys there are is declared by the application. */
export type Values = Record<string, any>;

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
  // Who asks for `instanceof Map` goes by keys() and get() then, which gives the data: class-transformer, and so
  // ClassSerializerInterceptor. Nothing of a Map is inherited by it.
  getPrototypeOf: () => Map.prototype,
});

/** The dictionary that applications see, over the session in use. */
export class SessionDict extends NoOtherProperties implements Session {
  readonly #open: OpenSession;
  readonly #isReadOnly: boolean;

  static {
    // To who serializes instances of classes by their own rules (ClassSerializerInterceptor), it is plain data.
    Object.defineProperty(this.prototype, 'constructor', { value: Object });
  }

  /** @param isReadOnly as `@Session({ readOnly: true })` gives it: without a lock, frozen; it shows what is stored now */
  constructor(open: OpenSession, isReadOnly = false) {
    super();
    this.#open = open;
    this.#isReadOnly = isReadOnly;
    Object.preventExtensions(this);
  }

  get(key: string, fallback?: any): any {
    const values = this.#readable();
    return Object.hasOwn(values, key) ? values[key] : fallback;
  }

  set(key: string, value: unknown): this {
    setValue(this.#writable(), key, value);
    return this;
  }

  has(key: string): boolean {
    return Object.hasOwn(this.#readable(), key);
  }

  delete(key: string): boolean {
    if (key === undefined) {
      throw new TypeError('session.delete(key) needs a key; to end the session, use session.destroy()');
    }
    const values = this.#writable();
    return Object.hasOwn(values, key) && delete values[key];
  }

  pop(...args: [key: string, fallback?: any]): any {
    const [key, fallback] = args;
    const values = this.#writable();
    if (args.length < 2 && !Object.hasOwn(values, key)) {
      throw new RangeError(`The session has no key '${key}'`);
    }
    const value = this.get(key, fallback);
    delete values[key];
    return value;
  }

  setDefault(key: string, value: any): any {
    const values = this.#writable();
    if (!Object.hasOwn(values, key)) {
      setValue(values, key, value);
    }
    return values[key];
  }

  update(other: Values): this {
    if (typeof other !== 'object' || other === null) {
      throw new TypeError(`session.update(data) needs an object, not ${String(other)}`);
    }
    const values = this.#writable();
    Object.entries(other).forEach(([key, value]) => setValue(values, key, value));
    return this;
  }

  clear(): void {
    const values = this.#writable();
    Object.keys(values).forEach(key => delete values[key]);
  }

  flash(key: string, message: unknown): this {
    addFlash(this.#writable(), key, message);
    return this;
  }

  flashes(key: string): any[] {
    return takeFlashes(this.#writable(), key);
  }

  keys(): any[] {
    return Object.keys(this.#readable());
  }

  values(): any[] {
    return Object.values(this.#readable());
  }

  entries(): [any, any][] {
    return Object.entries(this.#readable());
  }

  get size(): number {
    return this.keys().length;
  }

  [Symbol.iterator](): Iterator<[any, any]> {
    return this.entries()[Symbol.iterator]();
  }

  toJSON(): SessionValues {
    return this.data;
  }

  get data(): SessionValues {
    return this.#readable() as SessionValues;
  }

  get id(): string {
    return this.#open.id;
  }

  get isNew(): boolean {
    return this.#open.isNew;
  }

  get originalId(): string | undefined {
    return this.#open.originalId;
  }

  get missing(): boolean {
    return this.#open.missing;
  }

  get regenerated(): boolean {
    return this.#open.regenerated;
  }

  get locked(): boolean {
    return this.#open.locked;
  }

  get loaded(): boolean {
    return this.#open.loaded;
  }

  get createdAt(): Date {
    return new Date(this.#open.createdAt);
  }

  get expiresAt(): Date {
    return new Date(this.#open.expiresAt);
  }

  get timeout(): number {
    return this.#settings().timeout ?? this.#open.runtime.options.timeout;
  }

  set timeout(minutes: number | undefined) {
    this.#writable();
    if (minutes !== undefined && !(Number.isFinite(minutes) && minutes > 0)) {
      throw new RangeError(`session.timeout must be a number of minutes above 0, not ${minutes}`);
    }
    this.#open.values.timeout = minutes;
  }

  get persistent(): boolean {
    return this.#settings().persistent ?? this.#open.runtime.options.persistent;
  }

  set persistent(persistent: boolean | undefined) {
    this.#writable();
    if (persistent !== undefined && typeof persistent !== 'boolean') {
      throw new TypeError(`session.persistent must be true, false or undefined, not ${String(persistent)}`);
    }
    this.#open.values.persistent = persistent;
  }

  get owner(): string | undefined {
    return this.#settings().owner;
  }

  set owner(owner: string | undefined) {
    this.#writable();
    if (owner !== undefined && typeof owner !== 'string') {
      throw new TypeError(
        `session.owner must be a string or undefined, not a ${typeof owner}; write String(user.id)`,
      );
    }
    this.#open.values.owner = owner;
  }

  load(): Promise<void> {
    return this.#open.call(open => open.loadNow(this.#isReadOnly), { isUse: false, isLockOnly: true });
  }

  reload(): Promise<void> {
    return this.#change(open => open.reloadNow());
  }

  save(): Promise<void> {
    return this.#change(open => {
      this.#writable();
      return open.saveNow();
    });
  }

  touch(): Promise<void> {
    return this.#open.call(open => open.touchNow());
  }

  regenerate(): Promise<void> {
    return this.#change(open => open.regenerateNow());
  }

  destroy(): Promise<void> {
    return this.#change(open => open.destroyNow());
  }

  expire(): void {
    this.#refuseIfReadOnly();
    this.#open.expire();
  }

  acquireLock(options?: { timeout?: number }): Promise<void> {
    const timeout = options?.timeout;
    if (timeout !== undefined && !(typeof timeout === 'number' && timeout >= 0)) {
      throw new RangeError(`session.acquireLock() takes timeout in seconds from 0, not ${String(timeout)}`);
    }
    return this.#change(open => open.lockNow(open.wait(timeout)), true);
  }

  releaseLock(): Promise<void> {
    return this.#open.call(open => open.releaseLockNow(), { isUse: false });
  }

  onIdChange(listener: SessionIdListener): () => void {
    if (typeof listener !== 'function') {
      throw new TypeError('session.onIdChange(listener) needs a function');
    }
    return this.#open.onIdChange(listener);
  }

  #readable(): Values {
    return this.#isReadOnly ? this.#open.storedValues() : this.#open.useValues();
  }

  #writable(): Values {
    this.#refuseIfReadOnly();
    return this.#open.useValues(true);
  }

  #settings(): SessionSettings {
    return this.#isReadOnly ? (this.#open.record ?? {}) : this.#open.values;
  }

  #refuseIfReadOnly(): void {
    if (this.#isReadOnly) {
      throw new TypeError('This session is read-only; to change it, take it with @Session() instead');
    }
  }

  #change(operation: (open: OpenSession) => Promise<void>, isLockOnly = false): Promise<void> {
    const work = async (open: OpenSession) => {
      this.#refuseIfReadOnly();
      await operation(open);
    };
    return this.#open.call(work, { isLockOnly });
  }
}

import type { OpenSession } from './open-session.js';
import { SessionDict, type Values } from './session-dict.js';

/** The session as `@Session({ readOnly: true })` gives it: read without a lock, frozen; it shows what is stored now. */
export class ReadOnlySessionDict extends SessionDict {
  readonly #open: OpenSession;

  constructor(open: OpenSession) {
    super(open);
    this.#open = open;
    Object.preventExtensions(this);
  }

  override get timeout(): number {
    return this.#open.storedTimeout;
  }

  override set timeout(_minutes: number) {
    this.refuseIfReadOnly();
  }

  override get owner(): string | undefined {
    return this.#open.storedOwner;
  }

  override set owner(_owner: string | undefined) {
    this.refuseIfReadOnly();
  }

  override async load(): Promise<void> {
    // It is; loading it again would lock it.
  }

  protected override readable(): Values {
    return this.#open.storedValues();
  }

  protected override writable(): never {
    this.refuseIfReadOnly();
  }

  protected override refuseIfReadOnly(): never {
    throw new TypeError('This session is read-only; to change it, take it with @Session() instead');
  }
}

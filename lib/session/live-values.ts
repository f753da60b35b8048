import { jsonPlusSerializer } from '../options/json-plus.serializer.js';
import type { SessionSerializer } from '../options/session-options.js';
import { assertSize } from '../options/size-limit.js';
import type { SessionRecord, SessionSettings, SessionWrite } from '../storage/session-backend.js';
import { isSameValue } from '../options/same-value.js';
import { ownCopyOf, type StoredValues, type Values } from './session-codec.js';

const SETTINGS = ['owner', 'timeout', 'persistent'] as const satisfies (keyof SessionSettings)[];

/**
 * What the application holds of one session in use: the live data and the settings; what of it has
 * changed since the record was read; and the frozen view of the record. Knows no storage and no lock: the record
 * that it is compared with comes from outside.
 */
export class LiveValues {
  /** The data that the application changes; the same object from the first use on, as it may keep a reference. */
  live: Values = {};
  owner: string | undefined;
  /** Minutes of the session's own idle timeout. */
  timeout: number | undefined;
  /** Whether the session's cookie outlives the browser, if the session says so itself. */
  persistent: boolean | undefined;
  /** Whether `live` holds the record's data; else the session was only read. */
  isFilled = false;
  /** Whether the application may have changed something since the last commit: it may keep parts of the data. */
  isUsed = false;
  /** What `live` was when it was filled, if others have it too: else it is read again. */
  private base: { record: SessionRecord | undefined; data: Values } | undefined;
  private view: { record: SessionRecord | undefined; data: Values } | undefined;

  constructor(private readonly serializer: SessionSerializer) {}

  /**
   * Starts over with a record's data; changes are dropped.
   * @param isView it is only to be read: `live` stays as it is
   */
  start(stored: StoredValues, record?: SessionRecord, isView = false): void {
    this.owner = record?.owner;
    this.timeout = record?.timeout;
    this.persistent = record?.persistent;
    if (isView) {
      this.view = { record, data: deepFreeze(stored.data) };
      return;
    }
    const data = ownCopyOf(stored);
    this.live = this.isFilled ? replace(this.live, data) : data;
    this.isFilled = true;
    this.base = stored.isShared ? { record, data: stored.data } : undefined;
  }

  /** Whether the session holds nothing that would have to be stored. */
  get isEmpty(): boolean {
    return Object.keys(this.live).length === 0 && !this.hasOtherSettings(undefined);
  }

  /** Whether it differs from what is stored. Values are compared, never texts: an encrypted one differs each time. */
  isChanged(record: SessionRecord | undefined): boolean {
    return this.isFilled && (this.hasOtherSettings(record) || !this.isSame(this.live, this.baseOf(record)));
  }

  /** Takes over what is stored by now; what the application changed since `before` stays. */
  merge(before: SessionRecord | undefined, now: SessionRecord, fresh: StoredValues): void {
    const old = this.baseOf(before);
    const changed = Object.entries(this.live).filter(
      ([key, value]) => !Object.hasOwn(old, key) || !this.isSame({ [key]: value }, { [key]: old[key] }),
    );
    const deleted = Object.keys(old).filter(key => !Object.hasOwn(this.live, key));
    replace(this.live, ownCopyOf(fresh), changed);
    for (const key of deleted) {
      delete this.live[key];
    }
    for (const name of SETTINGS) {
      if (this[name] === before?.[name]) {
        Object.assign(this, { [name]: now[name] });
      }
    }
  }

  /** @returns what undoes all changes that come after it */
  snapshot(): () => void {
    const { owner, timeout, persistent } = this;
    const text = this.serializer.stringify(this.live);
    return () => {
      replace(this.live, this.serializer.parse(text));
      Object.assign(this, { owner, timeout, persistent });
    };
  }

  /**
   * @param write `live` to text
   * @param maxSize bytes
   * @throws SessionSizeException, and what the serializer throws at data that it cannot keep
   */
  toWrite(write: (live: Values) => string, maxSize: number): SessionSettings & Pick<SessionWrite, 'data'> {
    const { owner, timeout, persistent } = this;
    const data = write(this.live);
    assertSize({ data, owner }, maxSize);
    return { data, owner, timeout, persistent };
  }

  /** The data as it is stored, frozen. */
  frozen(record: SessionRecord | undefined): Values {
    if (!this.view || this.view.record !== record) {
      this.view = { record, data: deepFreeze(this.parse(record)) };
    }
    return this.view.data;
  }

  private hasOtherSettings(record: SessionRecord | undefined): boolean {
    return SETTINGS.some(name => this[name] !== record?.[name]);
  }

  private baseOf(record: SessionRecord | undefined): Values {
    return this.base && this.base.record === record ? this.base.data : this.parse(record);
  }

  private parse(record: SessionRecord | undefined): Values {
    return record ? this.serializer.parse(record.data) : {};
  }

  /**
   * A serializer of the application's may keep less than it is given: then what it would give back counts. It may give
   * back objects that only it can compare: they are the same if their texts are; texts that differ say nothing.
   */
  private isSame(live: Values, stored: Values): boolean {
    const { serializer } = this;
    if (isSameValue(live, stored)) {
      return true;
    }
    if (serializer === jsonPlusSerializer) {
      return false;
    }
    const text = serializer.stringify(live);
    return isSameValue(serializer.parse(text), stored) || text === serializer.stringify(stored);
  }
}

/** In place. A key named `__proto__` is a key like any other. */
function replace(target: Values, fresh: Values, changes: [string, unknown][] = []): Values {
  for (const key of Object.keys(target)) {
    delete target[key];
  }
  for (const [key, value] of [...Object.entries(fresh), ...changes]) {
    setValue(target, key, value);
  }
  return target;
}

/** As `target[key] = value`, but a key named `__proto__` is a key like any other. */
export function setValue(target: Values, key: string, value: unknown): void {
  if (key === '__proto__') {
    Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
  } else {
    target[key] = value;
  }
}

/** Not by recursion: what an own serializer reads may be of any depth. */
function deepFreeze<T extends object>(data: T): T {
  const rest: unknown[] = [data];
  while (rest.length > 0) {
    const value = rest.pop();
    // Typed arrays cannot be frozen; neither can what a Map, a Set or a Date holds.
    if (
      typeof value === 'object' &&
      value !== null &&
      !ArrayBuffer.isView(value) &&
      !Object.isFrozen(value)
    ) {
      Object.freeze(value);
      for (const inner of Object.values(value)) {
        rest.push(inner);
      }
    }
  }
  return data;
}

import { LRUCache } from 'lru-cache';
import { jsonPlusSerializer } from '../options/json-plus.serializer.js';
import { copyOfPlain, plainCopy } from '../options/plain-json.js';
import type { SessionSerializer } from '../options/session-options.js';

export type Values = Record<string, unknown>;

/** What a record's text says. */
export interface StoredValues {
  readonly data: Values;
  /** Others have the same objects: they are not to be changed. */
  readonly isShared: boolean;
}

/** Of a session without a record. */
export const NOTHING: StoredValues = { data: {}, isShared: true };

/** Data that one alone has, and may change. */
export const ownCopyOf = ({ data, isShared }: StoredValues): Values => (isShared ? copyOfPlain(data) : data);

interface Known extends StoredValues {
  readonly text: string;
}

/** Bytes of all that is known together, and of one entry: its text, and the objects that it became. */
const MAX_BYTES = 16 * 1024 * 1024;
const bytesOf = ({ text }: Known): number => 500 + 6 * text.length;

/**
 * Session data to text and back. Knows what the texts of sessions in use say: without, a request in RAM takes 1.5 times
 * the processor's time, for reading its text again, and for the garbage that this makes.
 */
export class SessionCodec {
  readonly #serializer: SessionSerializer;
  readonly #known = new LRUCache<string, Known>({ maxSize: MAX_BYTES, sizeCalculation: bytesOf });

  constructor(serializer: SessionSerializer) {
    this.#serializer = serializer;
  }

  /** @throws what the serializer throws at text that it cannot read */
  read(key: string, text: string): StoredValues {
    const known = this.#known.get(key);
    if (known?.text === text) {
      return known;
    }
    const data = this.#serializer.parse(text);
    // What an own serializer reads may be more than JSON, and so may what is tagged.
    const isShared = this.#serializer === jsonPlusSerializer && !text.includes('"$type"');
    if (isShared) {
      this.#known.set(key, { text, data, isShared });
    }
    return { data, isShared };
  }

  /** @throws what the serializer throws at data that it cannot keep */
  write(key: string, values: Values): string {
    const data = this.#serializer === jsonPlusSerializer ? plainCopy(values) : undefined;
    if (!data) {
      return this.#serializer.stringify(values);
    }
    const text = JSON.stringify(data);
    this.#known.set(key, { text, data, isShared: true });
    return text;
  }

  /** The session has ended; all have, without a key. */
  forget(key?: string): void {
    if (key === undefined) {
      this.#known.clear();
    } else {
      this.#known.delete(key);
    }
  }
}

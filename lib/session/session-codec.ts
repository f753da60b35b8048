import { jsonPlusSerializer } from '../options/json-plus.serializer.js';
import { copyOfPlain, isSamePlain, plainCopy } from '../options/plain-json.js';
import type { SessionSerializer } from '../options/session-options.js';
import { RecentTexts } from '../storage/recent-texts.js';

type Values = Record<string, unknown>;

/**
 * Session data to text and back. Remembers what the texts of sessions in use say: to copy and to compare it
 * takes a fifth of the time of JSON.parse and JSON.stringify, which were a third of a used session's costs.
 */
export class SessionCodec {
  private readonly known = new RecentTexts<{ text: string; data: Values }>();
  /** What an own serializer writes and reads may be more than JSON. */
  private readonly isJson: boolean;

  constructor(private readonly serializer: SessionSerializer) {
    this.isJson = serializer === jsonPlusSerializer;
  }

  /**
   * @param isShared whether the caller takes what others may get too, and freezes it
   * @throws what the serializer throws at text that it cannot read
   */
  parse(key: string, text: string, isShared = false): Values {
    const known = this.find(key, text);
    if (known) {
      return isShared ? known : copyOfPlain(known);
    }
    const values = this.serializer.parse(text);
    this.remember(key, text, this.isJson ? plainCopy(values) : undefined);
    return values;
  }

  /**
   * @param key of the session, if it is stored, with the text that was read or written last
   * @returns the same text if nothing has changed
   */
  stringify(values: Values, key?: string, stored?: string): string {
    if (!this.isJson) {
      return this.serializer.stringify(values);
    }
    const known = key !== undefined && stored !== undefined ? this.find(key, stored) : undefined;
    if (known && isSamePlain(values, known)) {
      return stored!;
    }
    const copy = plainCopy(values);
    const text = copy ? JSON.stringify(copy) : this.serializer.stringify(values);
    if (key !== undefined) {
      this.remember(key, text, copy);
    }
    return text;
  }

  private find(key: string, text: string): Values | undefined {
    const known = this.known.get(key);
    return known?.text === text ? known.data : undefined;
  }

  private remember(key: string, text: string, data: Values | undefined): void {
    if (data) {
      this.known.set(key, { text, data });
    } else {
      this.known.delete(key);
    }
  }
}

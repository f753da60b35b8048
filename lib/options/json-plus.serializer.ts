import { SessionSerializationException } from '../exceptions/session.exception.js';
import { bytesOf, kindOf, nameOfClass } from './data-kind.js';
import { describePath } from './data-path.js';
import { decode, MAX_DECIMALS } from './json-plus-reader.js';
import { asObject, parseObject } from './json.serializer.js';
import { MAX_DEPTH } from './nesting.js';
import { plainCopy } from './plain-json.js';
import type { SessionSerializer } from './session-options.js';

/**
 * JSON, and what JSON would lose: Date, Map, Set, BigInt, Buffer, typed arrays, ArrayBuffer, undefined, NaN,
 * the infinities and -0 are written as `{ "$type": …, "value": … }`. Data that is clean JSON is written as
 * clean JSON, so that other programs, and SQL, can read it. Whatever would come back as something else
 * (functions, symbols, class instances, circular references) throws.
 */
export const jsonPlusSerializer: SessionSerializer = {
  stringify(data) {
    try {
      return JSON.stringify(plainCopy(data) ?? new Encoder().encode(data));
    } catch (error) {
      if (error instanceof RangeError) {
        throw new SessionSerializationException('data', 'is nested too deeply', { cause: error });
      }
      throw error;
    }
  },

  parse(text) {
    // Most data has no tag and needs no second walk. A tag takes up to three levels of JSON for one of the data.
    return text.includes('"$type"')
      ? asObject(decode(parseObject(text, 3 * MAX_DEPTH + 1)))
      : parseObject(text, MAX_DEPTH);
  },
};

const tagged = (type: string, value?: unknown) => ({ $type: type, value });

const LARGE = 10n ** BigInt(MAX_DECIMALS);

/** Decimal, for others to read; a large one in hexadecimal, which takes time in proportion to its length. */
function bigIntText(value: bigint): string {
  const size = value < 0n ? -value : value;
  return size < LARGE ? value.toString() : `${value < 0n ? '-' : ''}0x${size.toString(16)}`;
}

class Encoder {
  /** The way from the root to the value at hand: to name it in an error, and to see a circle. */
  private readonly path: (string | number)[] = [];
  private readonly ancestors: object[] = [];

  /** The value itself where JSON keeps it, so that clean data is not copied; else its tagged form. */
  encode(value: unknown): unknown {
    switch (typeof value) {
      case 'string':
      case 'boolean':
        return value;
      case 'number':
        return Number.isFinite(value) && !Object.is(value, -0)
          ? value
          : tagged('Number', Object.is(value, -0) ? '-0' : String(value));
      case 'undefined':
        return tagged('undefined');
      case 'bigint':
        return tagged('BigInt', bigIntText(value));
      case 'function':
      case 'symbol':
        return this.refuse(`is a ${typeof value}`);
      default:
        return value === null ? null : this.encodeObject(value as object);
    }
  }

  private encodeObject(value: object): unknown {
    if (this.ancestors.includes(value)) {
      this.refuse('refers back to an object that contains it');
    }
    if (this.ancestors.length >= MAX_DEPTH) {
      this.path.splice(1); // the key will do: the whole way is as long as the nesting is deep
      this.refuse(`is nested too deeply, more than ${MAX_DEPTH} levels`);
    }
    this.ancestors.push(value);
    const encoded = this.encodeByType(value);
    this.ancestors.pop();
    return encoded;
  }

  private encodeByType(value: object): unknown {
    const kind = kindOf(value);
    switch (kind) {
      case 'Object':
        return this.encodeProperties(value as Record<string, unknown>);
      case 'Array':
        return this.encodeItems(value as unknown[]);
      case 'Date': {
        const time = (value as Date).getTime();
        return tagged(kind, Number.isNaN(time) ? null : time);
      }
      case 'Map':
        return tagged(kind, this.encodeItems(Array.from(value as Map<unknown, unknown>)));
      case 'Set':
        return tagged(kind, this.encodeItems(Array.from(value as Set<unknown>)));
      case undefined:
        return this.refuse(
          `is an instance of ${nameOfClass(Object.getPrototypeOf(value)) || 'a class'}, which would come back as a ` +
            'plain object; store a plain object such as { ...value }, or set serializer: jsonSerializer',
        );
      default:
        return tagged(kind, bytesOf(value).toString('base64'));
    }
  }

  private encodeItems(items: unknown[]): unknown[] {
    let copy: unknown[] | undefined;
    // By index: forEach and map skip the holes of a sparse array.
    for (let index = 0; index < items.length; index++) {
      const item = items[index];
      this.path.push(index);
      const encoded = this.encode(item);
      this.path.pop();
      if (encoded !== item || copy) {
        copy ??= items.slice(0, index);
        copy.push(encoded);
      }
    }
    return copy ?? items;
  }

  private encodeProperties(object: Record<string, unknown>): unknown {
    if (
      Object.getOwnPropertySymbols(object).some(key =>
        Object.prototype.propertyIsEnumerable.call(object, key),
      )
    ) {
      this.refuse('has a symbol as a key');
    }
    const keys = Object.keys(object);
    let copy: [string, unknown][] | undefined;
    for (let index = 0; index < keys.length; index++) {
      const key = keys[index]!;
      const value = object[key];
      this.path.push(key);
      const encoded = this.encode(value);
      this.path.pop();
      if (encoded !== value || copy) {
        copy ??= keys.slice(0, index).map(before => [before, object[before]]);
        copy.push([key, encoded]);
      }
    }
    if (Object.hasOwn(object, '$type')) {
      // The application's own `$type` must not be taken for a tag.
      return tagged('Object', copy ?? Object.entries(object));
    }
    return copy ? Object.fromEntries(copy) : object;
  }

  private refuse(reason: string): never {
    throw new SessionSerializationException(describePath(this.path), reason);
  }
}

import { types } from 'node:util';
import { SessionSerializationException } from '../exceptions/session.exception.js';
import { describePath } from './data-path.js';
import { isNestedDeeper, MAX_DEPTH } from './nesting.js';
import type { SessionSerializer } from './session-options.js';

/**
 * JSON and no more, as express-session's stores write it: a Date becomes a string, a class instance a plain object,
 * a Map `{}`, `toJSON` decides for itself, and what is undefined or a function is dropped. Data comes back as JSON
 * has it. What JSON refuses (BigInt, circular references) throws.
 */
export const jsonSerializer: SessionSerializer = {
  stringify(data) {
    let text: string | undefined;
    try {
      text = JSON.stringify(data);
    } catch (error) {
      throw explain(error, data);
    }
    if (!text?.startsWith('{')) {
      // A toJSON of the data itself: its text could not be read again.
      throw new SessionSerializationException('data', 'becomes something else than an object in JSON');
    }
    if (isNestedDeeper(text, MAX_DEPTH)) {
      throw tooDeep(text);
    }
    return text;
  },

  parse: text => parseObject(text, MAX_DEPTH),
};

/**
 * @param maxDepth levels of the text
 * @throws SyntaxError for a text that is no object's, or is nested more deeply
 */
export function parseObject(text: string, maxDepth: number): Record<string, unknown> {
  if (isNestedDeeper(text, maxDepth)) {
    throw new SyntaxError('Session data is nested too deeply');
  }
  return asObject(JSON.parse(text));
}

/** @throws SyntaxError for data that is none of a session: a list, a Map, a text */
export function asObject(data: unknown): Record<string, unknown> {
  if (typeof data !== 'object' || data === null || Object.getPrototypeOf(data) !== Object.prototype) {
    throw new SyntaxError('Session data must be an object');
  }
  return data as Record<string, unknown>;
}

/** Names the key that it is under: the whole way is as long as the nesting is deep. */
function tooDeep(text: string): SessionSerializationException {
  const found = Object.entries(JSON.parse(text)).find(([, value]) =>
    isNestedDeeper(JSON.stringify(value), MAX_DEPTH - 1),
  );
  const path = describePath(found ? [found[0]] : []);
  return new SessionSerializationException(path, `is nested too deeply, more than ${MAX_DEPTH} levels`);
}

/** Says where it is that JSON refused. What a toJSON or a getter threw is the application's, and stays as it is. */
function explain(error: unknown, data: object): unknown {
  if (error instanceof RangeError && /call stack/.test(error.message)) {
    return new SessionSerializationException('data', 'is nested too deeply', { cause: error });
  }
  if (!(error instanceof TypeError)) {
    return error;
  }
  try {
    JSON.stringify(data, refuser(error));
  } catch (explained) {
    return explained;
  }
  return error;
}

/** A replacer that throws where JSON.stringify would, and knows the way there. */
function refuser(cause: unknown): (this: object, key: string, value: unknown) => unknown {
  /** The objects that contain the value at hand, from the data on, and the key that each is under. */
  const holders: object[] = [];
  const keys: (string | number)[] = [];
  return function (key, value) {
    while (holders.length > 0 && holders.at(-1) !== this) {
      holders.pop();
      keys.pop();
    }
    const step = Array.isArray(this) ? Number(key) : key;
    const refuse = (reason: string): never => {
      const path = [...keys, step].slice(1); // the data itself is under an empty key of JSON.stringify's own
      throw new SessionSerializationException(describePath(path), reason, { cause });
    };
    if (typeof value === 'bigint' || types.isBigIntObject(value)) {
      return refuse('is a BigInt, which JSON does not have; store it as a string, or use jsonPlusSerializer');
    }
    if (typeof value === 'object' && value !== null) {
      if (holders.includes(value)) {
        return refuse('refers back to an object that contains it');
      }
      holders.push(value);
      keys.push(step);
    }
    return value;
  };
}

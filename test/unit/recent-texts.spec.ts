import { describe, expect, it } from 'vitest';
import { RecentTexts } from '../../lib/storage/recent-texts.js';

describe('what is remembered of recent sessions', () => {
  const entry = (length: number) => ({ text: 'x'.repeat(length) });
  const keysOf = (texts: RecentTexts<{ text: string }>) =>
    Array.from({ length: 100 }, (_, index) => `key ${index}`).filter(key => texts.get(key));

  it('is 8 MiB at most; the oldest go first, and one that is too long is not taken', () => {
    const texts = new RecentTexts<{ text: string }>();
    for (let index = 0; index < 100; index++) {
      texts.set(`key ${index}`, entry(100_000));
    }
    texts.set('key 99', entry(100_000));
    texts.set('large', entry(5_000_000));
    expect(keysOf(texts)).toEqual(Array.from({ length: 41 }, (_, index) => `key ${59 + index}`));
    expect(texts.get('large')).toBeUndefined();
  });

  it('is 8 MiB with what belongs to the texts, where they are small', () => {
    const texts = new RecentTexts<{ text: string }>();
    for (let index = 0; index < 50_000; index++) {
      texts.set(`key ${index}`, entry(0));
    }
    expect(texts.get('key 49999')).toBeDefined();
    expect(texts.get(`key ${50_000 - (8 * 1024 * 1024) / 512 - 1}`)).toBeUndefined();
  });

  it('is forgotten with its bytes', () => {
    const texts = new RecentTexts<{ text: string }>();
    for (let round = 0; round < 100; round++) {
      texts.set('key 0', entry(4_000_000));
      texts.delete('key 0');
      texts.delete('key 0');
    }
    texts.set('key 1', entry(100_000));
    texts.set('key 2', entry(3_900_000));
    expect(keysOf(texts)).toEqual(['key 1', 'key 2']);
  });
});

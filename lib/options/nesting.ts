/** Levels. What is written must be readable, and the reader may have less of the stack left. */
export const MAX_DEPTH = 500;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * Whether a text of JSON opens more levels than a limit. Without reading it: what recurses over the data would run out
 * of the stack at some depth, which depends on who called it.
 */
export function isNestedDeeper(text: string, limit: number): boolean {
  let depth = 0;
  const end = text.length < 2 * limit ? 0 : text.length;
  for (let index = 0; index < end; index++) {
    switch (text.charCodeAt(index)) {
      case QUOTE:
        index = endOfString(text, index);
        break;
      case 0x5b: // [
      case 0x7b: // {
        if (++depth > limit) {
          return true;
        }
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth--;
    }
  }
  return false;
}

/** Where the string that begins at a quote ends: at the next quote that no backslash escapes. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (text.charCodeAt(before) === BACKSLASH) {
      before--;
    }
    if ((end - before) % 2 === 1) {
      return end;
    }
  }
  return text.length;
}

/**
 * The values of one cookie in a `Cookie` header, without quotes.
 *
 * Takes time in proportion to the header's length, whatever is in it, and makes no table of the other cookies: most
 * cookies of most requests are not the one that is asked for.
 *
 * @returns undefined without the cookie; a set if it came with several values, in their order
 */
export function findCookie(header: string, name: string): string | Set<string> | undefined {
  let first: string | undefined;
  let all: Set<string> | undefined;
  for (let at = header.indexOf(name); at >= 0;) {
    const semicolon = header.indexOf(';', at);
    const end = semicolon < 0 ? header.length : semicolon;
    const value = isPairStart(header, at) ? valueIn(header.slice(at + name.length, end)) : undefined;
    if (first === undefined) {
      first = value;
    } else if (value !== undefined && value !== first) {
      all ??= new Set([first]);
      all.add(value);
    }
    // Whether it was a cookie of the name or not: the next one begins behind a semicolon.
    at = header.indexOf(name, end);
  }
  return all ?? first;
}

function isPairStart(header: string, at: number): boolean {
  let before = at - 1;
  while (before >= 0 && (header[before] === ' ' || header[before] === '\t')) {
    before--;
  }
  return before < 0 || header[before] === ';';
}

/** @param rest of the pair, behind the name */
function valueIn(rest: string): string | undefined {
  const equals = rest.indexOf('=');
  if (equals < 0 || rest.slice(0, equals).trim() !== '') {
    return undefined; // a cookie whose name only begins like that
  }
  const value = rest.slice(equals + 1).trim();
  return value.length > 1 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
}

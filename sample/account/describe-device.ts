const BROWSERS: [RegExp, string][] = [
  [/Edg(e|A|iOS)?\//, 'Edge'],
  [/OPR\//, 'Opera'],
  [/Firefox\/|FxiOS\//, 'Firefox'],
  [/Chrome\/|CriOS\//, 'Chrome'],
  [/Safari\//, 'Safari'],
];

const SYSTEMS: [RegExp, string][] = [
  [/iPhone/, 'iPhone'],
  [/iPad/, 'iPad'],
  [/Android/, 'Android'],
  [/Windows/, 'Windows'],
  [/Mac OS X|Macintosh/, 'macOS'],
  [/Linux|X11/, 'Linux'],
];

/** A user agent in words. The first match wins: most browsers claim to be others too. */
export function describeDevice(userAgent: string): { name: string; kind: 'phone' | 'laptop' } {
  const find = (table: [RegExp, string][]) => table.find(([pattern]) => pattern.test(userAgent))?.[1];
  const system = find(SYSTEMS);
  const browser = find(BROWSERS) ?? (userAgent.split(/[/\s]/, 1)[0] || 'Unknown browser');
  return {
    name: system === undefined ? browser : `${browser} on ${system}`,
    kind: /Mobi|Android|iPhone|iPad/.test(userAgent) ? 'phone' : 'laptop',
  };
}

import { html, type Html } from './html.js';

const format = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const UNITS: [Intl.RelativeTimeFormatUnit, seconds: number][] = [
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
];

/** Like "3 minutes ago": right in every time zone, which the server does not know. */
export function relativeTime(date: Date): Html {
  const seconds = Math.round((date.getTime() - Date.now()) / 1000);
  const [unit, length] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? (['second', 1] as const);
  const text = format.format(Math.round(seconds / length), unit);
  return html`<time datetime="${date.toISOString()}" title="${date.toUTCString()}">${text}</time>`;
}

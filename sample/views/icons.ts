import { html, type Html } from './html.js';

const ICONS = {
  cookie: html`<path d="M12 3a9 9 0 1 0 9 9 4 4 0 0 1-5-4 4 4 0 0 1-4-5Z" />
    <path class="dots" d="M9 10h.01M8 15h.01M13 13h.01M14 17h.01" />`,
  flask: html`<path d="M9 3h6M10 3v6l-5 9a2 2 0 0 0 2 3h10a2 2 0 0 0 2-3l-5-9V3M7.5 14h9" />`,
  person: html`<circle cx="12" cy="8" r="4" /> <path d="M4 21a8 8 0 0 1 16 0" />`,
  basket: html`<path d="M3 10h18l-2 10H5L3 10ZM7 10l4-7M17 10l-4-7M9 14v3M15 14v3" />`,
  phone: html`<rect x="7" y="2.5" width="10" height="19" rx="2.5" /> <path d="M11 18.5h2" />`,
  laptop: html`<rect x="4" y="5" width="16" height="11" rx="2" /> <path d="M2 19.5h20" />`,
};

export type IconName = keyof typeof ICONS;

export const icon = (name: IconName): Html =>
  html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">${ICONS[name]}</svg>`;

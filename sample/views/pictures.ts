import { html, type Html } from './html.js';

/** Points of the plane, from a centre at 0, 0. */
type Point = [x: number, y: number];

/** A circle with waves on it, each so many times around and so high. */
function outline(radius: number, ...waves: [count: number, height: number][]): string {
  const steps = 120;
  const points = Array.from({ length: steps }, (_, step): Point => {
    const angle = (step / steps) * 2 * Math.PI;
    const r = waves.reduce((sum, [count, height]) => sum + height * Math.cos(count * angle + count), radius);
    return [r * Math.cos(angle), r * Math.sin(angle)];
  });
  return pathOf(points);
}

/** Spread as evenly as the seeds of a sunflower. */
const scatter = (count: number, radius: number, turn = 0): Point[] =>
  Array.from({ length: count }, (_, index) => {
    const r = radius * Math.sqrt((index + 0.5) / count);
    const angle = index * 2.4 + turn;
    return [r * Math.cos(angle), r * Math.sin(angle)];
  });

const pathOf = (points: Point[]) =>
  `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L')}Z`;

const dough = (color: string, edge: string, path = outline(75, [2, 1.2], [5, 0.7], [11, 0.5])) => html`
  <path d="${path}" fill="${edge}" transform="translate(0 5)" />
  <path d="${path}" fill="${color}" />
  <path d="${path}" fill="#fff" opacity=".1" transform="translate(-3 -4) scale(.88)" />
`;

const chips = (points: Point[], color: string, size = 9) =>
  points.map(
    ([x, y], index) => html`
      <g transform="translate(${x.toFixed(1)} ${y.toFixed(1)}) rotate(${index * 67})">
        <rect
          x="${-size}"
          y="${-size * 0.75}"
          width="${size * 2}"
          height="${size * 1.5}"
          rx="${size * 0.6}"
          fill="${color}"
        />
        <rect
          x="${-size * 0.6}"
          y="${-size * 0.5}"
          width="${size * 0.7}"
          height="${size * 0.35}"
          rx="2"
          fill="#fff"
          opacity=".25"
        />
      </g>
    `,
  );

const flakes = (points: Point[], color: string) =>
  points.map(
    ([x, y], index) => html`
      <rect
        x="${x.toFixed(1)}"
        y="${y.toFixed(1)}"
        width="7"
        height="3.4"
        rx="1.7"
        fill="${color}"
        transform="rotate(${(index * 53) % 180} ${x.toFixed(1)} ${y.toFixed(1)})"
      />
    `,
  );

const HEART = 'M0 30C-46 0-30-34 0-14C30-34 46 0 0 30Z';

const STAR = pathOf(
  Array.from({ length: 10 }, (_, index): Point => {
    const angle = (index / 10) * 2 * Math.PI - Math.PI / 2;
    const r = index % 2 === 0 ? 76 : 40;
    return [r * Math.cos(angle), r * Math.sin(angle) + 5];
  }),
);

const star = (color: string, width: number) =>
  html`<path
    d="${STAR}"
    fill="${color}"
    stroke="${color}"
    stroke-width="${width}"
    stroke-linejoin="round"
  />`;

const grid = [-50, -30, -10, 10, 30, 50].map(at => {
  const reach = Math.sqrt(66 ** 2 - at ** 2).toFixed(1);
  return html`<path d="M${at} -${reach}V${reach}M-${reach} ${at}H${reach}" />`;
});

/** Half a macaron, its frilly foot at the bottom. */
const shell = (color: string, foot: string) => html`
  <path d="M-76 0C-82-80 82-80 76 0Z" fill="${color}" />
  <path
    d="M-71 0H71"
    stroke="${foot}"
    stroke-width="13"
    stroke-linecap="round"
    stroke-dasharray=".1 10.035"
  />
`;

const PICTURES: Record<string, Html> = {
  classic: html`${dough('#dfa867', '#b87a3c')}${chips(scatter(13, 62), '#4a2a1a')}`,
  midnight: html`${dough('#5a3627', '#3b2118')}${chips(scatter(11, 60, 1), '#2a1510')}${flakes(scatter(16, 66, 2), '#fff6e8')}`,
  harvest: html`${dough('#d9b27c', '#ab7f48', outline(74, [3, 1.4], [9, 1], [17, 0.8]))}${flakes(scatter(34, 66), '#f3ddb4')}${chips(scatter(9, 54, 2), '#5b2f45', 7)}`,
  linzer: html`${dough('#edcf9f', '#c79a5c', outline(74, [18, 3]))}
    <path d="${HEART}" transform="translate(0 3) scale(1.22)" fill="#c79a5c" />
    <path d="${HEART}" transform="translate(0 4) scale(1.1)" fill="#b8233f" />
    <path
      d="M-20-8q4-9 12-7"
      fill="none"
      stroke="#fff"
      stroke-width="4"
      stroke-linecap="round"
      opacity=".6"
    />
    ${flakes(
      scatter(40, 66).filter(([x, y]) => Math.hypot(x, y) > 46),
      '#fffaf2',
    )}`,
  macaron: html`<g transform="translate(0 21) scale(1 -.95)">${shell('#93b167', '#84a258')}</g>
    <rect x="-72" y="-3" width="144" height="18" rx="8" fill="#f6ead0" />
    <g transform="translate(0 -9)">${shell('#abc782', '#9ab870')}</g>
    <path
      d="M-56-30C-44-52-16-58 6-58"
      fill="none"
      stroke="#fff"
      stroke-width="8"
      stroke-linecap="round"
      opacity=".4"
    />`,
  halfmoon: html`${dough('#e6c08a', '#b98a4f')}
    <path d="M0-64A64 64 0 0 0 0 64Z" fill="#fff8ec" />
    <path d="M0-64A64 64 0 0 1 0 64Z" fill="#432519" />
    <path
      d="M-48-22q10-22 30-30M24-48q18 8 26 26"
      fill="none"
      stroke="#fff"
      stroke-width="5"
      stroke-linecap="round"
      opacity=".4"
    />`,
  star: html`<g transform="translate(0 5)">${star('#8a4f22', 16)}</g>
    ${star('#bb7434', 16)}
    <path
      d="${STAR}"
      transform="translate(0 1) scale(.84)"
      fill="none"
      stroke="#fff8e8"
      stroke-width="5"
      stroke-linejoin="round"
      stroke-linecap="round"
      stroke-dasharray="1 9"
    />
    ${chips(scatter(5, 22), '#fff0bf', 4)}`,
  stroopwafel: html`${dough('#d3954c', '#8e5420', outline(74, [32, 0.8]))}
    <g stroke="#a5682b" stroke-width="5" stroke-linecap="round" opacity=".75">${grid}</g>
    <g stroke="#f0c78b" stroke-width="2" stroke-linecap="round" opacity=".7" transform="translate(-2.5 -2.5)"
      >${grid}</g
    >`,
};

/** A drawing of a product; decoration, as its name stands beside it. */
export const picture = (sku: string): Html => html`
  <svg class="cookie" viewBox="-100 -100 200 200" aria-hidden="true">
    <ellipse cy="84" rx="62" ry="8" fill="#000" opacity=".12" />
    ${PICTURES[sku]}
  </svg>
`;

import { html, type Html } from './html.js';
import { layout } from './layout.js';

export const errorPage = (status: number, message: string): Html =>
  layout({
    title: message,
    body: html`
      <div class="card empty">
        <p class="kicker">${status}</p>
        <h1>${message}.</h1>
        <a class="button" href="/">Back to the shop</a>
      </div>
    `,
  });

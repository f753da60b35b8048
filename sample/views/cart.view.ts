import type { CartLine } from '../cart/cart.service.js';
import { findProduct, formatPrice, type Product } from '../catalogue.js';
import { html, type Html } from './html.js';
import { picture } from './pictures.js';

export function cartView(lines: readonly CartLine[]): Html {
  // A session may be older than the catalogue.
  const items = lines.flatMap(({ sku, quantity }) => {
    const product = findProduct(sku);
    return product ? [{ product, quantity }] : [];
  });
  if (items.length === 0) {
    return html`
      <h1>Your cart</h1>
      <div class="card empty">
        <p>Nothing in here yet. The oven is warm, though.</p>
        <a class="button" href="/">Choose cookies</a>
      </div>
    `;
  }
  const total = items.reduce((sum, { product, quantity }) => sum + product.price * quantity, 0);
  return html`
    <h1>Your cart</h1>
    <ul class="card lines">
      ${items.map(({ product, quantity }) => cartLine(product, quantity))}
      <li class="total"><span>Total</span> <strong>${formatPrice(total)}</strong></li>
    </ul>
  `;
}

const cartLine = ({ sku, name, price }: Product, quantity: number) => html`
  <li class="line">
    <div class="picture">${picture(sku)}</div>
    <div class="what">
      <h2>${name}</h2>
      <p class="note">${formatPrice(price)} each</p>
    </div>
    <form class="stepper" method="post" action="/cart/${sku}/change">
      <button name="by" value="-1" aria-label="One ${name} fewer">−</button>
      <span class="quantity"><span class="unseen">Quantity: </span>${quantity}</span>
      <button name="by" value="1" aria-label="One more ${name}">+</button>
    </form>
    <strong class="price">${formatPrice(price * quantity)}</strong>
    <form class="remove" method="post" action="/cart/${sku}/remove">
      <button class="quiet" aria-label="Remove ${name}">Remove</button>
    </form>
  </li>
`;

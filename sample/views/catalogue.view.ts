import { formatPrice, type Product } from '../catalogue.js';
import { html, type Html } from './html.js';
import { picture } from './pictures.js';

export const catalogueView = (products: readonly Product[]): Html => html`
  <section class="hero">
    <div>
      <p class="kicker">Small batch, long memory</p>
      <h1>Cookies worth keeping.</h1>
      <p class="lead">Fill your cart now, log in when you like: we remember what you chose.</p>
    </div>
    <div class="hero-art">${['linzer', 'classic', 'macaron'].map(sku => picture(sku))}</div>
  </section>
  <ul class="products" aria-label="Our cookies">
    ${products.map(productCard)}
  </ul>
`;

const productCard = ({ sku, name, note, price }: Product) => html`
  <li class="card product" id="${sku}">
    <div class="picture">${picture(sku)}</div>
    <h2>${name}</h2>
    <p class="note">${note}</p>
    <form class="buy" method="post" action="/cart/${sku}/add">
      <span class="price">${formatPrice(price)}</span>
      <button aria-label="Add ${name} to the cart">Add</button>
    </form>
  </li>
`;

import { Injectable, NotFoundException } from '@nestjs/common';
import { SessionStore } from 'nest-sessions';
import { findProduct, type Product } from '../catalogue.js';

/** What the session keeps of a cart. */
export interface CartLine {
  sku: string;
  quantity: number;
}

const MAX_QUANTITY = 99;

/** The cart of whoever is asking: a singleton that finds the session of the request in flight. */
@Injectable()
export class CartService {
  constructor(private readonly sessions: SessionStore) {}

  /** Adds to the quantity, or takes from it; at 0 the product leaves the cart. */
  async change(sku: string, by: number): Promise<Product> {
    const product = requireProduct(sku);
    const session = await this.sessions.current();
    const lines = session.get('cart', []);
    const quantity = Math.min((lines.find(line => line.sku === sku)?.quantity ?? 0) + by, MAX_QUANTITY);
    const changed = lines.some(line => line.sku === sku)
      ? lines.map(line => (line.sku === sku ? { sku, quantity } : line))
      : [...lines, { sku, quantity }];
    session.set(
      'cart',
      changed.filter(line => line.quantity > 0),
    );
    return product;
  }

  async remove(sku: string): Promise<Product> {
    return this.change(sku, -MAX_QUANTITY);
  }
}

export const countOf = (lines: readonly CartLine[]): number =>
  lines.reduce((count, line) => count + line.quantity, 0);

function requireProduct(sku: string): Product {
  const product = findProduct(sku);
  if (!product) {
    throw new NotFoundException('We do not bake that one');
  }
  return product;
}

import { Body, Controller, Param, ParseIntPipe, Post, Redirect } from '@nestjs/common';
import { Session } from 'nest-sessions';
import { Page, renderPage } from '../page.js';
import { cartView } from '../views/cart.view.js';
import { CartService } from './cart.service.js';

@Controller('cart')
export class CartController {
  constructor(private readonly cart: CartService) {}

  @Page()
  show(@Session() session: Session): string {
    return renderPage(session, { title: 'Your cart', tab: 'cart', body: cartView(session.get('cart', [])) });
  }

  @Post(':sku/add')
  @Redirect('/', 303)
  async add(@Session() session: Session, @Param('sku') sku: string) {
    const { name } = await this.cart.change(sku, 1);
    session.set('flash', { tone: 'good', text: `${name} is in your cart.` });
    return { url: `/#${sku}` }; // back to where the visitor was on the page
  }

  @Post(':sku/change')
  @Redirect('/cart', 303)
  async change(
    @Session() session: Session,
    @Param('sku') sku: string,
    @Body('by', ParseIntPipe) by: number,
  ): Promise<void> {
    const { name } = await this.cart.change(sku, by);
    session.set('flash', { tone: 'good', text: `${name}: ${by > 0 ? 'one more' : 'one fewer'}.` });
  }

  @Post(':sku/remove')
  @Redirect('/cart', 303)
  async remove(@Session() session: Session, @Param('sku') sku: string): Promise<void> {
    const { name } = await this.cart.remove(sku);
    session.set('flash', { tone: 'good', text: `${name} is out of your cart.` });
  }
}

import { Controller } from '@nestjs/common';
import { Session } from 'nest-sessions';
import { CATALOGUE } from './catalogue.js';
import { Page, renderPage } from './page.js';
import { catalogueView } from './views/catalogue.view.js';

@Controller()
export class ShopController {
  @Page()
  show(@Session() session: Session): string {
    return renderPage(session, {
      title: 'Cookies worth keeping',
      tab: 'shop',
      body: catalogueView(CATALOGUE),
    });
  }
}

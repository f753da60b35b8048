import { Module } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { SessionsModule } from 'nest-sessions';
import { AccountController } from './account/account.controller.js';
import { AssetsController } from './assets.controller.js';
import { CartController } from './cart/cart.controller.js';
import { CartService } from './cart/cart.service.js';
import { readConfig } from './config.js';
import { ErrorPageFilter } from './error-page.filter.js';
import { LabController } from './lab.controller.js';
import { ShopController } from './shop.controller.js';

@Module({
  imports: [SessionsModule.forRootAsync({ useFactory: () => readConfig(process.env).sessions })],
  controllers: [ShopController, CartController, AccountController, LabController, AssetsController],
  providers: [CartService, { provide: APP_FILTER, useClass: ErrorPageFilter }],
})
export class AppModule {}

export interface Product {
  sku: string;
  name: string;
  note: string;
  /** In cents. */
  price: number;
}

export const CATALOGUE: readonly Product[] = [
  { sku: 'classic', name: 'The Classic', note: 'Brown butter, dark chocolate chips', price: 280 },
  { sku: 'midnight', name: 'Midnight', note: 'Double chocolate, flaked sea salt', price: 320 },
  { sku: 'linzer', name: 'Linzer Heart', note: 'Hazelnut, raspberry jam', price: 340 },
  { sku: 'macaron', name: 'Pistachio Macaron', note: 'Crisp shell, soft heart', price: 250 },
  { sku: 'harvest', name: 'Harvest', note: 'Rolled oats, plump raisins', price: 260 },
  { sku: 'halfmoon', name: 'Half Moon', note: 'Vanilla and cocoa glaze', price: 360 },
  { sku: 'star', name: 'Ginger Star', note: 'Warm spices, lemon icing', price: 290 },
  { sku: 'stroopwafel', name: 'Stroopwafel', note: 'Two wafers, one caramel', price: 310 },
];

export const findProduct = (sku: string): Product | undefined =>
  CATALOGUE.find(product => product.sku === sku);

const money = new Intl.NumberFormat('en', { style: 'currency', currency: 'EUR' });

export const formatPrice = (cents: number): string => money.format(cents / 100);

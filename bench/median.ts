export const median = (values: number[]): number => quantile(values, 0.5);

/** The median, and between which quartiles it lies. */
export const formatSpread = (values: number[]): string => {
  const [low, middle, high] = [0.25, 0.5, 0.75].map(part => quantile(values, part).toFixed(2));
  return `${middle} (${low}–${high})`;
};

function quantile(values: number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const place = (sorted.length - 1) * part;
  const [below, above] = [sorted[Math.floor(place)]!, sorted[Math.ceil(place)]!];
  return below + (above - below) * (place % 1);
}

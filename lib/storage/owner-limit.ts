/**
 * Which of an owner's records have to go where one more comes.
 * @param owned oldest first
 * @param key of the one that comes
 */
export function surplus<T extends { key: string }>(owned: readonly T[], key: string, max: number): T[] {
  const others = owned.filter(each => each.key !== key);
  return others.slice(0, Math.max(0, others.length + 1 - max));
}

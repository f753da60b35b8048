import type { Admission, OwnerLimit, SessionBackend, Storing } from './session-backend.js';

/** Stores a record, by `create` or by `save`. */
export function store(
  backend: Pick<SessionBackend, 'create' | 'save'>,
  { key, write, lease, save }: Storing,
): Promise<boolean> {
  return save ? backend.save(key, write, lease, save) : backend.create(key, write, lease);
}

/** The same, or `admit` where there is a limit, and an owner to keep to it. */
export function storeWithin(
  limit: OwnerLimit | undefined,
  backend: SessionBackend,
  storing: Storing,
): Promise<boolean | 'refused'> {
  return limit && hasOwner(storing) ? backend.admit!(storing, limit) : store(backend, storing);
}

/**
 * Which of an owner's records have to go where one more comes.
 * @param owned oldest first
 * @param key of the one that comes
 */
export function surplus<T extends { key: string }>(owned: readonly T[], key: string, max: number): T[] {
  const others = owned.filter(each => each.key !== key);
  return others.slice(0, Math.max(0, others.length + 1 - max));
}

const hasOwner = (storing: Storing): storing is Admission => storing.write.owner !== undefined;

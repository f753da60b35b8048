export type StorageName = 'ram' | 'file' | 'postgresql' | 'memcached' | 'redis';

const ALL: StorageName[] = ['ram', 'file', 'postgresql', 'memcached', 'redis'];

/** Those that are tested: all, or the ones that TEST_STORAGES names, as `ram,file`. */
export const STORAGES = chosenStorages(process.env.TEST_STORAGES);

/** Those that several processes can share. */
export const SHARED_STORAGES = STORAGES.filter(storage => storage !== 'ram');

/** What is no storage of this package always is. */
export const isTested = (name: string): boolean => !isIn(ALL, name) || isIn(STORAGES, name);

/** For tests that need one storage, whichever: this one, if it is tested. */
export const orAnother = (storage: StorageName): StorageName =>
  isTested(storage) ? storage : STORAGES.at(-1)!;

function isIn(storages: StorageName[], name: string): boolean {
  return (storages as string[]).includes(name);
}

function chosenStorages(text: string | undefined): StorageName[] {
  const names = text?.split(',').map(name => name.trim());
  const unknown = names?.find(name => !isIn(ALL, name));
  if (unknown !== undefined) {
    throw new Error(`TEST_STORAGES names some of ${ALL.join(',')}, and no '${unknown}'`);
  }
  return names ? ALL.filter(storage => names.includes(storage)) : ALL;
}

import type { Type } from '@nestjs/common';
import { checkEach, type Given, type OptionTable } from '../options/option.js';
import { show } from '../options/show.js';
import type { SessionBackend } from './session-backend.js';
import { storageTimeout, type StorageType } from './storage-type.js';
import * as types from './storages.js';

/** The storage types by name. */
export const storages = { ...types };

/** The options that go with a backend of the application's. */
export const ownOptions = {
  /** Seconds that a call of the storage may take before the request is answered 503. Default 5. */
  storageTimeout,
};

export type StorageName = keyof typeof storages;

type OptionsOf<Name extends StorageName> = Given<(typeof storages)[Name]['options']>;
type OptionName = { [Name in StorageName]: keyof (typeof storages)[Name]['options'] }[StorageName];
/** Without a name it is RAM, which has no option of another storage. */
type Unnamed = OptionsOf<'ram'> & { [Name in Exclude<OptionName, keyof OptionsOf<'ram'>>]?: undefined };
type Named = { [Name in StorageName]: { storageType: Name } & OptionsOf<Name> };

/** The options of one storage: an editor offers no others, and the compiler takes no others. */
export type StorageOptions =
  | Named[StorageName]
  /** Where sessions are kept: a name, or a class or an instance that implements `SessionBackend`. Default `'ram'`. */
  | ({ storageType?: undefined } & Unnamed)
  | ({ storageType: Type<SessionBackend> | SessionBackend } & Given<typeof ownOptions>);

const NAMES = Object.keys(storages).sort() as StorageName[];
const OWN = 'your own backend';
/** The options of each, as messages name it. */
const TABLES: [storage: string, table: OptionTable][] = [
  ...NAMES.map((name): [string, OptionTable] => [`'${name}'`, storages[name].options]),
  [OWN, ownOptions],
];

const OPTION_NAMES = [...new Set(TABLES.flatMap(([, table]) => Object.keys(table)))];
export const STORAGE_OPTION_NAMES: readonly string[] = ['storageType', ...OPTION_NAMES];

/** @returns what is wrong with the storage that is asked for, and with options that go with another */
export function checkStorageOptions(given: Record<string, unknown>): string[] {
  const { storageType = 'ram' } = given;
  const named = storageNamed(storageType);
  if (!named && !isBackend(storageType)) {
    return [
      `storageType must be ${NAMES.map(name => `'${name}'`).join(', ')}, or a class or an instance that implements ` +
        `SessionBackend, not ${show(storageType)}`,
      ...checkForeign(given, undefined),
    ];
  }
  const { options, check }: Pick<StorageType, 'options' | 'check'> = named ?? { options: ownOptions };
  return [
    ...checkForeign(given, named ? `'${storageType}'` : OWN),
    ...checkEach(options, given),
    ...(check?.(given) ?? []),
  ];
}

/** @returns undefined for an own backend */
export function storageNamed(storageType: unknown): StorageType | undefined {
  return NAMES.includes(storageType as StorageName)
    ? (storages[storageType as StorageName] as unknown as StorageType)
    : undefined;
}

const isBackend = (value: unknown): boolean =>
  typeof value === 'function' || typeof (value as Partial<SessionBackend> | null)?.lock === 'function';

function checkForeign(given: Record<string, unknown>, chosen: string | undefined): string[] {
  return OPTION_NAMES.filter(name => given[name] !== undefined).flatMap(name => {
    const owners = TABLES.filter(([, table]) => Object.hasOwn(table, name)).map(([storage]) => storage);
    return chosen && owners.includes(chosen)
      ? []
      : `${name} goes with storageType ${owners.join(' or ')}; set that, or remove ${name}`;
  });
}

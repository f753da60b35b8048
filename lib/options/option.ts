import { show } from './show.js';

/**
 * One option: what it may be, and what it becomes.
 * @typeParam Given what an application writes
 * @typeParam Resolved what the package works with, in the same unit
 */
export interface Option<Given, Resolved> {
  /** @returns what is wrong with a given value, to stand behind the option's name; none: nothing */
  check(value: unknown): string[];
  /** @param value that is right, or undefined for the default */
  resolve(value: Given | undefined): Resolved;
}

/** One that an application has to write. */
export interface RequiredOption<Given, Resolved> extends Option<Given, Resolved> {
  /** What is wrong where it is left out, to stand behind its name. */
  readonly missing: string;
}

/** Options by name. */
export type OptionTable = Record<string, Option<any, unknown> & { readonly missing?: string }>;

type Value<Row> = Row extends Option<infer Given, unknown> ? Given : never;

/** What an application writes of a table. A required option may be undefined, as an environment variable may. */
export type Given<Table> = {
  [Name in keyof Table as Table[Name] extends { missing: string } ? never : Name]?: Value<Table[Name]>;
} & {
  [Name in keyof Table as Table[Name] extends { missing: string } ? Name : never]:
    Value<Table[Name]> | undefined;
};

/** A table's options with their defaults. */
export type Resolved<Table> = {
  [Name in keyof Table]: Table[Name] extends Option<any, infer Value> ? Value : never;
};

type Check = (value: unknown) => string | string[] | undefined;

/** An option without a default. @param check gives what is wrong, if anything is */
export function option<Given>(check: Check): Option<Given, Given | undefined>;
/** @param resolve gives the default for undefined */
export function option<Given, Resolved>(
  check: Check,
  resolve: (value: Given | undefined) => Resolved,
): Option<Given, Resolved>;
export function option(check: Check, resolve = (value: unknown) => value): Option<unknown, unknown> {
  return { check: value => [check(value) ?? []].flat(), resolve };
}

/** An option that has to be given. @param missing what is wrong where it is not */
export function required<Given, Resolved>(
  missing: string,
  check: Check,
  resolve: (value: Given) => Resolved,
): RequiredOption<Given, Resolved> {
  return { ...option<Given, Resolved>(check, value => resolve(value!)), missing };
}

/** One of several values. */
export function oneOf<const Value, Default extends Value | undefined>(
  allowed: readonly Value[],
  byDefault: Default,
): Option<Value, Value | Default> {
  const check = (value: unknown) =>
    (allowed as readonly unknown[]).includes(value)
      ? undefined
      : `must be one of ${allowed.map(show).join(', ')}, not ${show(value)}`;
  return option<Value, Value | Default>(check, value => value ?? byDefault);
}

export const bool = (byDefault: boolean): Option<boolean, boolean> =>
  oneOf<boolean, boolean>([true, false], byDefault);

/** The longest delay that a Node.js timer takes, in seconds. */
export const MAX_SECONDS = (2 ** 31 - 1) / 1000;

export interface NumberRule {
  above?: number;
  min?: number;
  max?: number;
  integer?: boolean;
  unit: string;
  default: number;
}

export function number(rule: NumberRule): Option<number, number> {
  const { above = -Infinity, min = -Infinity, max = Infinity, integer = false } = rule;
  const range = [
    rule.above === undefined ? '' : ` above ${above}`,
    rule.min === undefined ? '' : ` of at least ${min}`,
    rule.max === undefined ? '' : ` and at most ${Math.floor(max)}`,
  ].join('');
  const check = (value: unknown) =>
    Number.isFinite(value) &&
    (value as number) > above &&
    (value as number) >= min &&
    (value as number) <= max &&
    (!integer || Number.isInteger(value))
      ? undefined
      : `must be a ${integer ? 'whole ' : ''}number${range} (${rule.unit}), not ${show(value)}`;
  return option(check, value => value ?? rule.default);
}

/** @returns what is wrong with the options of a table, each on its own */
export function checkEach(table: OptionTable, given: Record<string, unknown>): string[] {
  return Object.entries(table).flatMap(([name, row]) => {
    const problems = given[name] === undefined ? [row.missing ?? []].flat() : row.check(given[name]);
    return problems.map(problem => `${name} ${problem}`);
  });
}

/** @param given options that are right */
export function resolveEach<Table extends OptionTable>(
  table: Table,
  given: Record<string, unknown>,
): Resolved<Table> {
  const entries = Object.entries(table).map(([name, { resolve }]) => [name, resolve(given[name])]);
  return Object.fromEntries(entries) as Resolved<Table>;
}

import { MAX_SECONDS, number, type OptionTable, type Resolved } from '../options/option.js';
import type { SessionBackend } from './session-backend.js';

/** A storage type: the options that it has beside those of all sessions, and how it is opened. */
export interface StorageType<Table extends OptionTable = OptionTable> {
  options: Table;
  /** @returns what is wrong with its options together, or missing; each on its own is checked by its row */
  check?(given: Record<string, unknown>): string[];
  /**
   * @param maxSize bytes of data and owner that are read at most
   * @throws SessionException if it cannot be used: which option is to blame, and what to do
   */
  open(options: Resolved<Table>, maxSize: number): SessionBackend | Promise<SessionBackend>;
}

/** Lets the compiler see the options of a storage type. */
export const storageType = <Table extends OptionTable>(type: StorageType<Table>): StorageType<Table> => type;

/** For storages that may not answer. */
export const storageTimeout = number({ above: 0, max: MAX_SECONDS, unit: 'seconds', default: 5 });

export const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';

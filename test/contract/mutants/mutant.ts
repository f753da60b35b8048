import type { RamBackend } from '../../../lib/storage/ram/ram.backend.js';

/** A storage that breaks the contract in one way. */
export interface Mutant {
  breaks: string;
  Backend: new (maxSessions: number) => RamBackend;
  /** Titles of tests of the suite, each of which has to fail. */
  refusedBy: string[];
}

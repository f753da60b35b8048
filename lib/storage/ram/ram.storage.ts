import { number } from '../../options/option.js';
import { storageType } from '../storage-type.js';
import { RamBackend } from './ram.backend.js';

/** Sessions in the memory of this process. */
export const ram = storageType({
  options: {
    /** How many sessions to keep at most; beyond it, the least recently used one goes, those with an owner last. Default 1,000,000. */
    maxSessions: number({ above: 0, integer: true, unit: 'sessions', default: 1_000_000 }),
  },
  open: ({ maxSessions }) => new RamBackend(maxSessions),
});

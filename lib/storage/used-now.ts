import type { SessionRecord } from './session-backend.js';

/** What a save, or a touch, of this moment moves. @param ttl milliseconds from now until the record expires */
export const usedNow = (ttl: number): Pick<SessionRecord, 'expiresAt' | 'lastUsedAt'> => ({
  expiresAt: Date.now() + ttl,
  lastUsedAt: Date.now(),
});

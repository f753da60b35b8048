import { hash } from 'node:crypto';

/** What storages, file names and logs see of a session id: its SHA-256, base64url, 43 characters. */
export function sessionKey(id: string): string {
  return hash('sha256', id, 'base64url');
}

/** Whether it can be a key: what is none names no session. */
export const isSessionKey = (text: string): boolean => /^[\w-]{43}$/.test(text);

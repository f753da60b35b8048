import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

async function namesIn(storagePath: string): Promise<string[]> {
  const folders = (await readdir(storagePath)).filter(name => name.length === 2);
  return (await Promise.all(folders.map(folder => readdir(join(storagePath, folder))))).flat();
}

/** The keys of all session files, expired or not. */
export async function storedKeys(storagePath: string): Promise<string[]> {
  const files = (await namesIn(storagePath)).filter(name => !name.endsWith('.lock'));
  return files.map(name => name.slice('session-'.length));
}

/** Whether any session is locked, by whatever process. */
export async function isAnyLocked(storagePath: string): Promise<boolean> {
  return (await namesIn(storagePath)).some(name => name.endsWith('.lock'));
}

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** The keys of all session files, expired or not. */
export async function storedKeys(storagePath: string): Promise<string[]> {
  const folders = (await readdir(storagePath)).filter(name => name.length === 2);
  const names = await Promise.all(folders.map(folder => readdir(join(storagePath, folder))));
  const files = names.flat().filter(name => !name.endsWith('.lock'));
  return files.map(name => name.slice('session-'.length));
}

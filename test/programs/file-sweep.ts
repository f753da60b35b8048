import { readdirSync } from 'node:fs';
import { FileBackend } from '../../lib/storage/file/file.backend.js';
import { becomeUnprivileged } from './unprivileged.js';

/**
 * Sweeps STORAGE_PATH as a user whom file permissions hold for. Prints one line of JSON: how many sessions
 * were `removed`, and how many session files are `left`.
 */
const { STORAGE_PATH = '' } = process.env;
becomeUnprivileged();
const removed = await new FileBackend(STORAGE_PATH).cleanUp();
const names = readdirSync(STORAGE_PATH, { recursive: true, encoding: 'utf8' });
console.log(JSON.stringify({ removed, left: names.filter(name => /session-[^./]+$/.test(name)).length }));

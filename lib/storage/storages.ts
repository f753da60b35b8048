// The storages of this package, by the option `storageType`: a folder and a line each.
export { file } from './file/file.storage.js';
export { memcached } from './memcached/memcached.storage.js';
export { postgresql } from './postgresql/postgresql.storage.js';
export { ram } from './ram/ram.storage.js';
export { redis } from './redis/redis.storage.js';

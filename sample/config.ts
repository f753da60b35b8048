import type { SessionModuleOptions } from 'nest-sessions';

export interface Config {
  adapter: 'express' | 'fastify';
  port: number;
  sessions: SessionModuleOptions;
  /** Where the sessions are, in words. */
  storage: string;
}

/** @throws Error that names the variable, what it may be and what it is */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  const storageType = oneOf(env, 'STORAGE', ['ram', 'file']);
  const storagePath = env.STORAGE_PATH || './sessions';
  return {
    adapter: oneOf(env, 'ADAPTER', ['express', 'fastify']),
    port: readPort(env.PORT || '3000'),
    sessions: storageType === 'file' ? { storageType, storagePath } : { storageType },
    storage: storageType === 'file' ? `files under ${storagePath}` : 'RAM',
  };
}

/** The first of the allowed values is the default. */
function oneOf<T extends string>(env: NodeJS.ProcessEnv, name: string, allowed: [T, ...T[]]): T {
  const value = env[name] || allowed[0];
  const found = allowed.find(one => one === value);
  if (found === undefined) {
    throw new Error(`${name} must be ${allowed.join(' or ')}, not '${value}'`);
  }
  return found;
}

function readPort(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65_535) {
    throw new Error(`PORT must be a whole number from 0 to 65535, not '${text}'`);
  }
  return port;
}

import type { SessionModuleOptions } from 'nest-sessions';

export interface Config {
  adapter: 'express' | 'fastify';
  port: number;
  sessions: SessionModuleOptions;
  /** Where the sessions are, in words; without a password. */
  storage: string;
}

/** @throws Error that names the variable, what it may be and what it is */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  return {
    adapter: oneOf(env, 'ADAPTER', ['express', 'fastify']),
    port: readPort(env.PORT || '3000'),
    ...readStorage(env),
  };
}

function readStorage(env: NodeJS.ProcessEnv): Pick<Config, 'sessions' | 'storage'> {
  const storageType = oneOf(env, 'STORAGE', ['ram', 'file', 'postgresql', 'memcached', 'redis']);
  switch (storageType) {
    case 'ram':
      return { sessions: { storageType }, storage: 'RAM' };
    case 'file': {
      const storagePath = env.STORAGE_PATH || './sessions';
      return { sessions: { storageType, storagePath }, storage: `files under ${storagePath}` };
    }
    case 'postgresql': {
      const url = required(env, 'DATABASE_URL', 'postgres://user:password@localhost:5432/database');
      return { sessions: { storageType, url }, storage: describeServer('PostgreSQL', url) };
    }
    case 'memcached': {
      const servers = required(env, 'MEMCACHED_SERVERS', 'localhost:11211');
      return { sessions: { storageType, servers }, storage: `memcached on ${servers}` };
    }
    case 'redis': {
      const url = required(env, 'REDIS_URL', 'redis://localhost:6379');
      return { sessions: { storageType, url }, storage: describeServer('Redis', url) };
    }
  }
}

/** The first of the allowed values is the default. */
function oneOf<T extends string>(env: NodeJS.ProcessEnv, name: string, allowed: [T, ...T[]]): T {
  const value = env[name] || allowed[0];
  const found = allowed.find(one => one === value);
  if (found === undefined) {
    const all = `${allowed.slice(0, -1).join(', ')} or ${allowed.at(-1)}`;
    throw new Error(`${name} must be ${all}, not '${value}'`);
  }
  return found;
}

function required(env: NodeJS.ProcessEnv, name: string, example: string): string {
  const value = env[name];
  if (!value) {
    throw new Error(`${name} is missing; STORAGE=${env.STORAGE} needs it, e.g. ${name}=${example}`);
  }
  return value;
}

/** Its host alone: the rest of the URL holds the password. */
function describeServer(name: string, url: string): string {
  return URL.canParse(url) ? `${name} on ${new URL(url).host || 'this machine'}` : name;
}

function readPort(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65_535) {
    throw new Error(`PORT must be a whole number from 0 to 65535, not '${text}'`);
  }
  return port;
}

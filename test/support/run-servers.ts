import { inject } from 'vitest';

/** The servers that a run starts once, for all files that merely use them. */
export interface RunServers {
  /** A url; TEST_POSTGRES_URL, if there is one. */
  postgresql?: string;
  /** As the option `servers`; TEST_MEMCACHED_SERVERS, if there is one. */
  memcached?: string;
  /** A url; TEST_REDIS_URL, if there is one. */
  redis?: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    servers: RunServers;
  }
}

/** Where one of them is. */
export function sharedServer(name: keyof RunServers): string {
  const address = inject('servers')[name];
  if (!address) {
    throw new Error(`These tests need ${name}, which test/support/global-setup.ts does not know`);
  }
  return address;
}

import { MemoryStore } from 'express-session';
import { describe, expect, it } from 'vitest';
import type { SessionModuleOptions } from 'nest-sessions';
import { problemsOf } from '../support/problems-of.js';

type Options = Record<string, unknown>;

const FORMER = { store: new MemoryStore(), secret: 's' };
const PG = { storageType: 'postgresql', url: 'postgres://host/db' };

describe('options together', () => {
  const WRONG_TOGETHER: [options: Options, problem: RegExp][] = [
    [
      { storageType: 'postgresql' },
      /^storageType 'postgresql' needs one of url, connection and dataSource, and has 0/,
    ],
    [{ ...PG, connection: {} }, /needs one of url, connection and dataSource, and has 2/],
    [{ storageType: 'postgresql', url: 'mysql://host/db' }, /^url must be like postgres:/],
    [{ storageType: 'postgresql', connection: 5 }, /^connection must be an object/],
    [{ storageType: 'postgresql', dataSource: {} }, /^dataSource must be a DataSource of TypeORM/],
    [{ ...PG, tableName: '' }, /^tableName must be a name of 1 to 63 bytes/],
    [{ ...PG, schema: 'x'.repeat(64) }, /^schema must be a name/],
    [{ ...PG, createTable: 'yes' }, /^createTable must be one of true, false/],
    [{ ...PG, storageTimeout: 0 }, /^storageTimeout must be a number above 0/],
    [{ ...PG, servers: 'host:11211' }, /^servers goes with storageType 'memcached'/],
    [{ storageType: 'memcached' }, /^servers must be host:port.*servers: 'localhost:11211'/],
    [{ storageType: 'memcached', servers: ['a:1', 'b c'] }, /^servers must be host:port/],
    [{ storageType: 'memcached', servers: 'a:1', username: 'u' }, /^username and password go together/],
    [{ storageType: 'memcached', servers: 'a:1', keyPrefix: 'a b' }, /^keyPrefix must be/],
    [{ storageType: 'redis' }, /^storageType 'redis' needs one of url and client, and has 0/],
    [{ storageType: 'redis', url: 'http://host' }, /^url must be like redis:/],
    [
      { storageType: 'redis', url: 'redis://host', tableName: 't' },
      /^tableName goes with storageType 'postgresql'/,
    ],
    [{ storageType: 'redis', client: {} }, /^client must be a client of redis, ioredis or iovalkey/],
    [{ storageType: 'redis', url: 'redis://host', keyPrefix: 'x'.repeat(151) }, /^keyPrefix must be/],
    [{ storageType: 'file' }, /^storagePath is missing.*storagePath: '\.\/sessions'/],
    [{ storageType: 'file', storagePath: '' }, /^storagePath is missing/],
    [{ storageType: 'ram', storagePath: './sessions' }, /^storagePath goes with storageType 'file'/],
    [{ storageType: 'file', storagePath: 'x', maxSessions: 5 }, /^maxSessions goes with storageType 'ram'/],
    [{ migrateFrom: FORMER, name: 'connect.sid' }, /^migrateFrom needs name: another than the option name/],
  ];
  it.each(WRONG_TOGETHER)('%o', (options, problem) => {
    expect(problemsOf(options)).toEqual([expect.stringMatching(problem)]);
  });

  const RIGHT_TOGETHER: SessionModuleOptions[] = [
    {},
    { storageType: 'file', storagePath: './sessions' },
    { storageType: 'ram', maxSessions: 5 },
  ];
  it.each(RIGHT_TOGETHER)('%o', options => {
    expect(problemsOf(options)).toEqual([]);
  });

  it('invariant 5, secrets stay secret: no value of a secret is ever shown', () => {
    const secrets: unknown[] = [
      ['hush', ''],
      { value: 'hush' },
      Buffer.from('hush'),
      ['hush', 5],
      [['hush']],
    ];
    for (const secret of secrets) {
      const problems = problemsOf({ secret, secrets: 'hush', timeout: -1 });
      expect(problems).toHaveLength(3);
      expect(problems.join()).not.toMatch(/hush|68 75 73 68/);
    }
  });
});

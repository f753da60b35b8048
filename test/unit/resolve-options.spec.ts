import { RequestMethod } from '@nestjs/common';
import { MemoryStore } from 'express-session';
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { jsonPlusSerializer, jsonSerializer, SessionOptionsException } from 'nest-sessions';
import { resolveEach, type OptionTable } from '../../lib/options/option.js';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';
import { storages, type StorageName } from '../../lib/storage/storage-options.js';
import { RamBackend } from '../../lib/storage/ram/ram.backend.js';
import { problemsOf } from '../support/problems-of.js';

type Options = Record<string, unknown>;

const circle: Options = {};
circle.self = circle;
const NO_NUMBERS = ['60', NaN, Infinity, null, {}, 1n];
const POSITIVE = [...NO_NUMBERS, 0, -1];
const NO_BOOLEANS = ['true', 'false', 0, 1, null, {}];

const FORMER = { store: new MemoryStore(), secret: 's' };

const WRONG: Record<string, unknown[]> = {
  storageType: ['', 'memory', 'mongodb', 'mysql', null, 5, {}, [], { lock: true }],
  storagePath: ['./sessions', '', 5],
  maxSessions: [...POSITIVE, 1.5],
  // Of another storage: below, each is right or wrong with its own.
  url: ['postgres://host/db'],
  connection: [{}],
  dataSource: [{}],
  client: ['redis://host', {}, { isOpen: true }],
  tableName: ['t'],
  schema: ['s'],
  createTable: [true, false],
  servers: ['host:11211'],
  username: ['u'],
  password: ['p'],
  keyPrefix: ['x'],
  storageTimeout: [5],
  name: ['', 'a b', 'a;b', 'a=b', 'a,b', '"a"', 'n\u00e4me', 'a\nb', 5, null, circle],
  path: ['', 'shop', '/a b', '/a;b', '/a,b', '/a<b', '/\u00e9', '/a\nb', `/${'x'.repeat(1024)}`, 5, null],
  pathHeader: ['', 'x path', 'x:path', 'x\npath', 5, null],
  domain: [
    '',
    'a b',
    'a;b',
    'exa_mple.com',
    'https://example.com',
    'example.com:80',
    '..a',
    '-a',
    'com',
    '.org',
    5,
    circle,
  ],
  clearAlso: [
    '/shop',
    null,
    {},
    ['/shop'],
    [null],
    [undefined],
    [[]],
    [{ path: 'shop' }],
    [{ path: '/a;b' }],
    [{ path: null }],
    [{ domain: 'a b' }],
    [{ domain: 'com' }],
    [{ domain: 5 }],
    [{ pth: '/shop' }],
    [{ path: '/shop', secure: true }],
    [{ path: '/shop' }, { path: '/' }],
    [{}],
  ],
  timeout: POSITIVE,
  lifetime: POSITIVE,
  persistent: NO_BOOLEANS,
  secure: ['true', 'always', 1, null],
  httpOnly: NO_BOOLEANS,
  sameSite: [true, 'Lax', 'STRICT', '', null],
  partitioned: NO_BOOLEANS,
  priority: ['High', 'urgent', 1, true, null],
  secret: ['', [], [''], ['a', ''], ['a', undefined], 5, null, {}, [['a']], Buffer.from('a')],
  cleanFreq: [...NO_NUMBERS, -1, 35_792],
  locking: ['none', true, null, ''],
  eager: NO_BOOLEANS,
  requestSession: NO_BOOLEANS,
  migrateFrom: [
    null,
    {},
    5,
    { store: FORMER.store },
    { secret: 's' },
    { ...FORMER, store: {} },
    { ...FORMER, secret: [] },
    { ...FORMER, name: 'session_id' },
    { ...FORMER, name: 'a b' },
    { ...FORMER, path: 'x' },
    { ...FORMER, domain: 'a b' },
  ],
  maxWaiters: [...POSITIVE, 1.5],
  maxSessionsPerOwner: [...POSITIVE, 1.5],
  beyondMaxSessions: ['end', '', null, true, 1],
  lockTimeout: [...NO_NUMBERS, -1, 2_147_484],
  leaseTime: [...NO_NUMBERS, -1, 0, 0.01, 2_147_484],
  saveUninitialized: NO_BOOLEANS,
  touchAfter: [...NO_NUMBERS, -1],
  exclude: [
    'health',
    null,
    {},
    [5],
    [null],
    [undefined],
    [{}],
    ['/a('],
    ['/*'],
    [{ path: ['a'] }],
    [{ path: 'a', method: 'GET' }],
    [{ path: 'a', method: 99 }],
  ],
  maxSize: [...POSITIVE, 0.5, '1mb'],
  generateId: [
    'uuid',
    null,
    () => 'the-very-same-id-each-time',
    () => randomBytes(8).toString('hex').slice(1),
    () => `${randomBytes(16).toString('hex')};`,
    () => 'x'.repeat(257),
    () => undefined,
    async () => randomBytes(16).toString('hex'),
    () => {
      throw new Error('no entropy');
    },
  ],
  serializer: [null, 5, {}, JSON.stringify, { parse: JSON.parse }, { stringify: JSON.stringify }],
  debug: NO_BOOLEANS,
};

const RIGHT: Record<string, unknown[]> = {
  storageType: ['ram', RamBackend, new RamBackend(1)],
  storagePath: [],
  maxSessions: [1, 5_000_000],
  url: [],
  connection: [],
  dataSource: [],
  client: [],
  tableName: [],
  schema: [],
  createTable: [],
  servers: [],
  username: [],
  password: [],
  keyPrefix: [],
  storageTimeout: [],
  name: ['sid', 'a.b-c_d', "!#$%&'*+-.^_`|~", '__Host-id', '__Secure-id'],
  path: ['/', '/shop', '/a%20b/(c)'],
  pathHeader: ['x-path', 'X-Forwarded-Prefix'],
  domain: ['example.com', '.example.com', 'localhost', 'a-b.c1.example', 'xn--bcher-kva.example'],
  clearAlso: [[], [{ path: '/shop' }, { domain: 'example.com' }, { path: '/', domain: '.a.example' }]],
  timeout: [0.01, 60, 1e12],
  lifetime: [0.01, 60, 1e12],
  persistent: [true, false],
  secure: [true, false, 'auto'],
  httpOnly: [true, false],
  sameSite: ['strict', 'lax', 'none', false],
  partitioned: [true, false],
  priority: ['low', 'medium', 'high'],
  secret: ['s', ['s'], ['new', 'old']],
  cleanFreq: [0, 0.01, 5, 35_791],
  locking: ['implicit', 'early', 'explicit'],
  eager: [true, false],
  requestSession: [true, false],
  migrateFrom: [
    FORMER,
    { ...FORMER, secret: ['new', 'old'], name: 'sid', path: '/shop', domain: 'example.com' },
  ],
  maxWaiters: [1, 200],
  maxSessionsPerOwner: [1, 3],
  beyondMaxSessions: ['endOldest', 'refuse'],
  lockTimeout: [0, 0.1, 30],
  leaseTime: [0.1, 30],
  saveUninitialized: [true, false],
  touchAfter: [0, 0.5, 86_400],
  exclude: [[], ['health'], ['/health', 'a/:id', { path: 'b/*rest', method: RequestMethod.POST }]],
  maxSize: [1, 1024],
  generateId: [() => randomBytes(12).toString('base64url'), () => crypto.randomUUID()],
  serializer: [JSON, jsonPlusSerializer, jsonSerializer],
  debug: [true, false],
};

const each = (table: Record<string, unknown[]>) =>
  Object.entries(table).flatMap(([option, values]) => values.map(value => ({ option, value })));

describe('one option', () => {
  it('every option has a wrong value below', () => {
    const [message] = problemsOf({ nonsense: true });
    const options = /the options are (.*)$/.exec(message!)![1]!.split(', ');
    expect(options.sort()).toEqual(Object.keys(WRONG).sort());
    expect(options).toEqual(Object.keys(RIGHT).sort());
  });

  it.each(each(WRONG))('$option is wrong: $value', ({ option, value }) => {
    const problems = problemsOf({ [option]: value });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(new RegExp(`^${option} `));
    expect(problems[0]!.split('\n')).toHaveLength(1);
  });

  it.each(each(RIGHT))('$option is right: $value', ({ option, value }) => {
    expect(problemsOf({ [option]: value })).toEqual([]);
  });

  it.each(Object.keys(WRONG))('%s: undefined is as good as left out', option => {
    const { generateId: _, ...defaults } = resolveSessionOptions();
    expect(resolveSessionOptions({ [option]: undefined })).toMatchObject(defaults);
  });

  it.each(['nonsense', 'storage', 'httponly', 'constructor', 'toString', '__proto__ '])(
    '%s is no option',
    option => {
      expect(problemsOf({ [option]: 1 })).toEqual([expect.stringContaining(`${option} is not an option`)]);
    },
  );

  it.each([null, 'ram', 5, true, () => ({})])('the options as a whole cannot be %s', options => {
    expect(problemsOf(options)).toEqual([expect.stringMatching(/^the options must be an object, not /)]);
  });
});

describe('options together', () => {
  it('all problems come in one exception, each with what it is about', () => {
    const wrong = Object.fromEntries(Object.entries(WRONG).map(([option, [value]]) => [option, value]));
    const problems = problemsOf({ ...wrong, nonsense: 1 });
    for (const option of [...Object.keys(WRONG), 'nonsense']) {
      expect(problems).toContainEqual(expect.stringMatching(new RegExp(`^${option} `)));
    }
    const message = new SessionOptionsException(problems).message;
    expect(message.split('\n  - ')).toHaveLength(problems.length + 1);
  });
});

describe('defaults', () => {
  it('are those of the documentation, in the units of the options', () => {
    const { generateId, ...rest } = resolveSessionOptions();
    expect(rest).toEqual({
      name: 'session_id',
      path: '/',
      pathHeader: undefined,
      domain: undefined,
      clearAlso: [],
      timeout: 60,
      lifetime: Infinity,
      persistent: true,
      secure: 'auto',
      httpOnly: true,
      sameSite: 'lax',
      partitioned: false,
      priority: undefined,
      secret: [],
      cleanFreq: 5,
      locking: 'implicit',
      eager: false,
      requestSession: true,
      migrateFrom: undefined,
      lockTimeout: 30,
      maxWaiters: 200,
      maxSessionsPerOwner: Infinity,
      beyondMaxSessions: 'endOldest',
      leaseTime: 30,
      touchAfter: 0,
      saveUninitialized: false,
      exclude: [],
      maxSize: 1_048_576,
      serializer: jsonPlusSerializer,
      debug: false,
    });
    expect(generateId()).toMatch(/^[\w-]{43}$/);
    expect(generateId()).not.toBe(generateId());
  });

  it.each<[StorageName, given: Options, resolved: Options]>([
    ['ram', {}, { maxSessions: 1_000_000 }],
    ['file', { storagePath: 'x' }, { storagePath: 'x', storageTimeout: 5 }],
    [
      'postgresql',
      {},
      {
        url: undefined,
        connection: undefined,
        dataSource: undefined,
        tableName: 'nest_sessions',
        schema: undefined,
        createTable: true,
        storageTimeout: 5,
      },
    ],
    [
      'memcached',
      { servers: ['a:1', 'b:2'] },
      {
        servers: 'a:1,b:2',
        username: undefined,
        password: undefined,
        keyPrefix: 'session:',
        storageTimeout: 5,
      },
    ],
    [
      'redis',
      { url: 'redis://host' },
      { url: 'redis://host', client: undefined, keyPrefix: 'session:', storageTimeout: 5 },
    ],
  ])('of %s', (name, given, resolved) => {
    expect(resolveEach(storages[name].options as OptionTable, given)).toEqual(resolved);
  });
});

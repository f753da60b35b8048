// The contract suite's own, for the tests beside it.
export * from '../../lib/testing/fixtures.js';

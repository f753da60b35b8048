// `nest-sessions/testing`: for those who write a storage of their own.
export { describeSessionBackend } from './testing/describe-session-backend.js';
export type { TestRunner } from './testing/test-runner.js';
export type { TestStorage } from './testing/test-storage.js';

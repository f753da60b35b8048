import { describe, it } from 'vitest';
import { describeSessionBackend } from '../../lib/testing.js';
import { BACKENDS } from './backends.js';

for (const { name, open } of BACKENDS) {
  describeSessionBackend(name, open, { describe, it });
}

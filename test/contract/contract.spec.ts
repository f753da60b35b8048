import { BACKENDS } from './backends.js';
import { describeConcurrency } from './concurrency.js';
import { describeContract } from './contract.js';

for (const backend of BACKENDS) {
  describeContract(backend);
  describeConcurrency(backend);
}

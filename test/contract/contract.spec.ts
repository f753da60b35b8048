import { BACKENDS } from './backends.js';
import { describeConcurrency } from './concurrency.js';
import { describeContract } from './contract.js';
import { describeLocks } from './locks.js';
import { describeOwners } from './owners.js';
import { describeRecords } from './records.js';

for (const backend of BACKENDS) {
  describeContract(backend);
  describeLocks(backend);
  describeOwners(backend);
  describeRecords(backend);
  describeConcurrency(backend);
}

import 'reflect-metadata';
import { endFilesTasks } from './after-file.js';
import { skipWhatPassed } from './passed-before.js';

endFilesTasks();
skipWhatPassed();

import 'reflect-metadata';
import { endFilesTasks } from './after-file.js';

endFilesTasks();

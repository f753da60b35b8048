import 'reflect-metadata';
import { CONTENDERS, createApp } from './contenders.js';

/** One contender in a process of its own. Arguments: its index, and its places as JSON. Prints its port. */
const [index, places] = process.argv.slice(2);
const app = await createApp(CONTENDERS[Number(index)]!, JSON.parse(places!));
await app.listen(0, '127.0.0.1');
console.log(`listening ${app.getHttpServer().address().port}`);

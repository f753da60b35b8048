/** Whether this is the long proof, `npm run test:long`: every storage everywhere, and full counts. */
export const isLong = Boolean(process.env.TEST_LONG);

/** A count, or a list, that is smaller in `npm test` than in the long proof. */
export const inLong = <T>(long: T, short: T): T => (isLong ? long : short);

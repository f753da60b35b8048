/**
 * The application's session data. Empty here; declare yours once, as users of express-session do:
 *
 *     declare module 'nest-sessions' {
 *       interface SessionData { userId?: number; cart: string[] }
 *     }
 */
export interface SessionData {}

type IsDeclared = [keyof SessionData] extends [never] ? false : true;

/** The keys of `SessionData`; any string as long as it is not declared. */
export type SessionKey = IsDeclared extends true ? keyof SessionData & string : string;

/** What is kept under a key. */
export type SessionValue<K extends string> = IsDeclared extends true
  ? K extends keyof SessionData
    ? SessionData[K]
    : never
  : any;

/** All the data as an object. */
export type SessionValues = IsDeclared extends true ? SessionData : Record<string, any>;

export type Defined<T> = Exclude<T, undefined>;

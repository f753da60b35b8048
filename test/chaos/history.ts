import type { ChaosSeen } from '../programs/chaos-order.js';

/**
 * - 200, 409, 500, 503, …: as answered
 * - 'cut': the connection ended without an answer, or there was none to be had
 * - 'aborted': the client went away
 * - 'hung': no answer in a long time
 * - 'pending': no answer yet
 */
export type Status = number | 'cut' | 'aborted' | 'hung' | 'pending';

/** What a call does to its session, besides writing: it ends it, or moves it to a new id. */
export type Effect = 'end' | 'move';

/** One call of a client, as it saw it. Times are milliseconds since the run began. */
export interface Call {
  name: string;
  client: number;
  server: number;
  at: number;
  /** Infinity, as long as it is pending. */
  doneAt: number;
  /** Which of the session's ids it was sent with, as `SessionHistory.ids` has them. */
  id: number;
  effect?: Effect;
  /**
   * Of an end: true if it found the session, whatever its id was by then; false if it may have found nothing. Undefined:
   * it found it, unless the session may have moved to another id before.
   */
  isSure?: boolean;
  /** Of a move: the id that the session gets. */
  newId?: number;
  status: Status;
  /** Of a call that was answered, and failed: whether it had drawn the id for its session. */
  isIdDrawn?: boolean;
  /** The text of an answer that is no success. */
  text?: string;
  /** Whether the session was found; undefined: the answer does not say. */
  found?: boolean | undefined;
  /** What it adds to the session, in this order. */
  tokens: string[];
  /** How many of the tokens were saved before the end of the call: they may be stored also if that is refused. */
  midway?: number;
  /** What was there before. */
  seen?: ChaosSeen | undefined;
}

/** All that happened to one session. */
export interface SessionHistory {
  /** All its tokens begin with it. */
  name: string;
  /** Its ids, in the order in which they were asked for. The first one was acknowledged. */
  ids: string[];
  calls: Call[];
  /** Each id that it may have was looked for, the older ones first, and none is there. */
  isGone: boolean;
}

/** A trouble that was made, or that the machine had. */
export interface Trouble {
  name: string;
  at: number;
  /** Infinity, as long as it lasts. */
  doneAt: number;
  /** Of one server process. */
  server?: number;
}

/** A success: the change is promised to be there. */
export const isAcknowledged = ({ status, found }: Call): boolean => status === 200 && found !== false;

/** Whether nothing of it may be there: the session ended, the handler failed as asked, or there was no session. */
export const isRefused = ({ status, found }: Call): boolean =>
  status === 409 || status === 500 || (status === 200 && found === false);

/** Everything that a view holds. */
export const tokensOf = ({ list, deep, keys }: ChaosSeen): string[] => [...list, ...deep, ...keys];

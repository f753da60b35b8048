/** A header of answers to calls that have drawn an id for their session. */
export const ID_DRAWN = 'x-id-drawn';

/** What a client asks for. */
export interface ChaosOrder {
  /** What the call adds to the session, each unique. */
  tokens: string[];
  /** Milliseconds between reading and writing. */
  workMs: number;
  /** Of the session, for calls that come without a cookie. */
  id?: string;
  /** The next id that this call draws: so its client knows it though no answer comes. */
  newId?: string;
  owner?: string;
  /** Of a session of the owner's that is to stay. */
  except?: string;
  /** Writes also where no session was found. */
  isBlind?: boolean;
}

/** What a session holds: tokens, in three places. */
export interface ChaosSeen {
  /** Set whole. */
  list: string[];
  /** Changed in place, through `data`. */
  deep: string[];
  /** A key each: what merges can keep apart. */
  keys: string[];
}

export interface ChaosAnswer {
  /** Whether there was a session. */
  found: boolean;
  /** What it held before the call changed it. */
  seen?: ChaosSeen | undefined;
}

import { SessionTooLateException } from '../exceptions/session.exception.js';
import { sessionKey } from './session-id.js';
import type { SessionIdListener } from './session.js';

/** A session id that came with a request, and what storages know it by. */
export interface SentId {
  readonly id: string;
  readonly key: string;
}

/** Says which session a request means, where that takes a look at a storage; null: none. */
export type Identify = () => Promise<SentId | null>;

/** The ids of one session in use: the one that the client sent, and the one that it has now. */
export abstract class SessionIdentity {
  originalId: string | undefined;
  missing = false;
  isNew = true;
  regenerated = false;
  /** Whether the headers have gone, and the cookie with them: no new session or id can reach the client. */
  isSent = false;
  private current: SentId | undefined;
  private listeners: Set<SessionIdListener> | undefined;

  /** @param sent the id that the client sent; null for a cookie that holds none that is well-formed */
  constructor(
    private readonly generateId: () => string,
    sent: SentId | null | undefined,
  ) {
    this.adoptSent(sent);
  }

  get id(): string {
    return (this.current ?? this.setId(this.generateId())).id;
  }

  get key(): string {
    return (this.current ?? this.setId(this.generateId())).key;
  }

  onIdChange(listener: SessionIdListener): () => void {
    const listeners = (this.listeners ??= new Set());
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  protected throwIfTooLate(): void {
    if (this.isSent) {
      throw new SessionTooLateException();
    }
  }

  /** @returns what tells the listeners */
  protected changeId(id: string): () => void {
    const previousId = this.id;
    this.setId(id);
    this.regenerated = true;
    return () => this.listeners?.forEach(listener => listener(id, previousId));
  }

  protected adoptSent(sent: SentId | null | undefined): void {
    this.missing = sent === null;
    this.originalId = sent?.id;
    this.current = sent ?? undefined;
  }

  protected setId(id: string): SentId {
    return (this.current = { id, key: sessionKey(id) });
  }

  /** It gets a new one, once that is asked for. */
  protected dropId(): void {
    this.current = undefined;
  }
}

/** Of all that is remembered together. */
const MAX_BYTES = 8 * 1024 * 1024;
/** Beside its text: its key, what belongs to it, and its place in the map. */
const ENTRY_BYTES = 512;

/** What belongs to the texts of the sessions that were used last, by the session's key. */
export class RecentTexts<Entry extends { readonly text: string }> {
  private readonly entries = new Map<string, Entry>();
  private bytes = 0;

  get(key: string): Entry | undefined {
    return this.entries.get(key);
  }

  /** The oldest go, once there are too many; one that is too long itself is not taken. */
  set(key: string, entry: Entry): void {
    this.delete(key);
    const bytes = bytesOf(entry);
    if (bytes > MAX_BYTES) {
      return;
    }
    this.entries.set(key, entry);
    this.bytes += bytes;
    for (const oldest of this.entries.keys()) {
      if (this.bytes <= MAX_BYTES) {
        break;
      }
      this.delete(oldest);
    }
  }

  delete(key: string): void {
    const entry = this.entries.get(key);
    if (entry) {
      this.bytes -= bytesOf(entry);
      this.entries.delete(key);
    }
  }
}

/** As much as it may take: a text takes one byte a character, or two. */
const bytesOf = ({ text }: { text: string }): number => 2 * text.length + ENTRY_BYTES;

/** Characters of all texts together that are remembered: with what belongs to them, some 10 MB. */
const MAX_CHARACTERS = 2 * 1024 * 1024;

/** What belongs to the texts of the sessions that were used last, by the session's key. */
export class RecentTexts<Entry extends { readonly text: string }> {
  private readonly entries = new Map<string, Entry>();
  private characters = 0;

  get(key: string): Entry | undefined {
    return this.entries.get(key);
  }

  /** The oldest go, once there are too many; one that is too long itself is not taken. */
  set(key: string, entry: Entry): void {
    this.delete(key);
    if (entry.text.length > MAX_CHARACTERS) {
      return;
    }
    this.entries.set(key, entry);
    this.characters += entry.text.length;
    for (const oldest of this.entries.keys()) {
      if (this.characters <= MAX_CHARACTERS) {
        break;
      }
      this.delete(oldest);
    }
  }

  delete(key: string): void {
    this.characters -= this.entries.get(key)?.text.length ?? 0;
    this.entries.delete(key);
  }
}

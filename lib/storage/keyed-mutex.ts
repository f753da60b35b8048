/** One task after the other for each key, in this process. */
export class KeyedMutex {
  /** The last task of each key that has any. */
  private readonly last = new Map<string, Promise<unknown>>();

  runExclusive<T>(key: string, task: () => Promise<T>): Promise<T> {
    const work = (this.last.get(key) ?? Promise.resolve()).then(task, task);
    this.last.set(key, work);
    const end = () => {
      if (this.last.get(key) === work) {
        this.last.delete(key);
      }
    };
    work.then(end, end);
    return work;
  }
}

/** Work that is done one after the other, in this process, where it has the same name. */
export class Turns {
  private readonly last = new Map<string, Promise<unknown>>();

  run<T>(name: string, task: () => Promise<T>): Promise<T> {
    const turn = (this.last.get(name) ?? Promise.resolve()).then(task, task);
    this.last.set(name, turn);
    const end = () => {
      if (this.last.get(name) === turn) {
        this.last.delete(name);
      }
    };
    turn.then(end, end);
    return turn;
  }
}

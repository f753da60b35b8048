import { Client } from 'pg';

/** Settings of a PostgreSQL server whose log `StatementLog` reads. */
export const STATEMENT_LOG_SETTINGS: string[] = [
  'log_statement=all',
  'log_line_prefix=[%a] ',
  'log_parameter_max_length=0',
  'logging_collector=on',
  'log_rotation_size=0',
  'fsync=off',
];

/** What a server has carried out, by its own log. */
export class StatementLog {
  private marks = 0;

  private constructor(
    private readonly observer: Client,
    /** Bytes of the log that were there before. */
    private readonly start: string,
  ) {}

  static async open(url: string): Promise<StatementLog> {
    const observer = new Client({ connectionString: url, application_name: 'observer' });
    await observer.connect();
    const { rows } = await observer.query('SELECT size FROM pg_stat_file(pg_current_logfile())');
    return new StatementLog(observer, rows[0].size);
  }

  /**
   * The statements that reach the server during a task, in their order: of those of this package the name of the
   * operation, of others the text. Only of connections by that name: an instance's `applicationName`.
   */
  async during(task: () => Promise<unknown>, application = 'nest-sessions'): Promise<string[]> {
    const from = await this.mark();
    await task();
    const to = await this.mark();
    const log = await this.read();
    const lines = log.slice(log.indexOf(from), log.indexOf(to)).split('\n');
    return lines
      .filter(line => line.startsWith(`[${application}] LOG:`))
      .map(line => /(?:execute|statement:) (.*)/.exec(line)?.[1] ?? line)
      .map(statement => /^nest-sessions-(\w+)-\w+:/.exec(statement)?.[1] ?? statement);
  }

  close(): Promise<void> {
    return this.observer.end();
  }

  /** The log is written in order, but a moment late: a statement of our own tells how far it is. */
  private async mark(): Promise<string> {
    const mark = `mark ${++this.marks};`;
    await this.observer.query(`SELECT '${mark}'`);
    while (!(await this.read()).includes(mark)) {
      // reads again
    }
    return mark;
  }

  private async read(): Promise<string> {
    const { rows } = await this.observer.query(
      'SELECT pg_read_file(pg_current_logfile(), $1, 100000000) AS log',
      [this.start],
    );
    return rows[0].log;
  }
}

import { SessionOptionsException, type SessionModuleOptions } from 'nest-sessions';
import { resolveModuleOptions } from '../../lib/sessions.options.js';

/** What is wrong with options; none if nothing is. */
export function problemsOf(options: unknown): readonly string[] {
  try {
    resolveModuleOptions(options as SessionModuleOptions);
    return [];
  } catch (error) {
    if (error instanceof SessionOptionsException) {
      return error.problems;
    }
    throw error;
  }
}

import { SessionOptionsException, type SessionModuleOptions } from 'nest-sessions';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';

/** What is wrong with options; none if nothing is. */
export function problemsOf(options: unknown): readonly string[] {
  try {
    resolveSessionOptions(options as SessionModuleOptions);
    return [];
  } catch (error) {
    if (error instanceof SessionOptionsException) {
      return error.problems;
    }
    throw error;
  }
}

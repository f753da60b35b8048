/** The user `nobody`, for tests that run as root: permissions do not hold for root. */
export const NOBODY = 65534;

export const isRoot = (): boolean => process.getuid?.() === 0;

/** Root becomes `nobody`, once everything is loaded; another user stays who they are. */
export function becomeUnprivileged(): void {
  if (isRoot()) {
    process.setgroups!([]);
    process.setgid!(NOBODY);
    process.setuid!(NOBODY);
  }
}

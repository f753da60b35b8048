/** Text that only this version has. @param size characters; default 100 KiB */
export const bodyOf = (version: number, size = 100 * 1024): string =>
  `${version}.`.repeat(size).slice(0, size);

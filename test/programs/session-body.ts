/** 100 KiB that only this version has. */
export const bodyOf = (version: number): string => `${version}.`.repeat(100 * 1024).slice(0, 100 * 1024);

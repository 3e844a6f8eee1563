/** Bytes. */
export const gib = 1024 ** 3

/** Limits that page B0 announces and the commands enforce. Bytes. */

/** Longest transfer of one command. */
export const MAX_TRANSFER_BYTES = 64 * 1048576
/** Longest data of a command that needs it whole (VERIFY with comparison, ORWRITE, …). Not announced. */
export const MAX_COLLECT_BYTES = 16 * 1048576
/** Half the data of the longest COMPARE AND WRITE (which is also limited to 255 blocks). */
export const COMPARE_AND_WRITE_BYTES = 131072
/** Longest range of one WRITE SAME. */
export const MAX_WRITE_SAME_BYTES = 4 * 1073741824
/** Longest range of all descriptors of one UNMAP: blocks, not bytes. */
export const MAX_UNMAP_BLOCKS = 1048576
export const MAX_UNMAP_DESCRIPTORS = 256

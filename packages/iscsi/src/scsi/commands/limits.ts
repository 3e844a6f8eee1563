/** Limits that page B0 announces and the commands enforce. Bytes. */

/** Longest transfer of one command. */
export const MAX_TRANSFER_BYTES = 16 * 1048576
/** Half the data of the longest COMPARE AND WRITE (which is also limited to 255 blocks). */
export const COMPARE_AND_WRITE_BYTES = 131072
/** Longest range of one UNMAP descriptor or one WRITE SAME. */
export const MAX_UNMAP_BYTES = 4 * 1073741824
export const MAX_UNMAP_DESCRIPTORS = 256

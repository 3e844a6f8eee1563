import { type Static, Type } from 'typebox'

/**
 * How the comparison of one data directory's data with their checksums is going. `/storage_nodes/{uuid}/checks` of the
 * embedded node; arrays have nothing like it. Times are ISO 8601.
 */
export const StorageCheck = Type.Object({
  /** The data directory, as a drive of the storage node. */
  medium: Type.String(),
  startedAt: Type.String(),
  /** Absent while it runs, or waits to go on. */
  finishedAt: Type.Optional(Type.String()),
  bytesRead: Type.Integer(),
  /** Bytes of data that the directory holds now. */
  totalBytes: Type.Integer(),
  /** Blocks that did not have their checksum; those that another copy had are repaired by now. */
  damagedBlocks: Type.Integer(),
  /** Damage of catalog, maps and checksums. */
  problems: Type.Array(Type.String()),
})
export type StorageCheck = Static<typeof StorageCheck>

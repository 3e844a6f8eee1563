import { Type } from 'typebox'
import { Name, ReferenceInput } from './common.ts'

/** Paths of storage nodes. */
export const NodeReferences = Type.Optional(Type.Array(ReferenceInput))

/** A named set of storage nodes that volumes may lie on. v2.2. */
export const CreateStoragePool = Type.Object({ name: Name, members: NodeReferences })
export const UpdateStoragePool = Type.Object({ members: NodeReferences })

/** Storage nodes that fail together. v2.2. */
export const CreateFailureDomain = Type.Object({ name: Name, storage_nodes: NodeReferences })
export const UpdateFailureDomain = Type.Object({ storage_nodes: NodeReferences })

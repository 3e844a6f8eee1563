import { wireTime } from '../images/view.ts'
import type { NamespaceRow } from './access.ts'
import { withoutNulls } from './values.ts'

/** A namespace on the wire, without its parts. */
export function namespaceView(row: NamespaceRow): Record<string, unknown> {
  return withoutNulls({
    namespace: row.namespace,
    display_name: row.display_name,
    description: row.description,
    visibility: row.visibility,
    protected: row.protected === 1,
    owner: row.owner,
    created_at: wireTime(row.created_at),
    updated_at: wireTime(row.updated_at),
    self: `/v2/metadefs/namespaces/${row.namespace}`,
    schema: '/v2/schemas/metadefs/namespace',
  })
}

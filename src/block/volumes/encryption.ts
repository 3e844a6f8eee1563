import { NotFound } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { type BlockRequest, type Operation, parameter } from '../operation.ts'
import { authorize } from '../policy.ts'
import { findEncryption } from '../types/encryption.ts'
import { getVolume } from './queries.ts'

/** How a volume is encrypted, as whoever attaches it asks. @see block-storage-api specification 3.3 */
export function volumeEncryptionOperations(block: Block): readonly Operation[] {
  return [
    {
      method: 'GET',
      path: '/volumes/:id/encryption',
      run: async (request) => ({ status: 200, body: await show(request) }),
    },
    {
      method: 'GET',
      path: '/volumes/:id/encryption/:key',
      async run(request) {
        const key = parameter(request, 'key')
        const facts = await show(request)
        if (!Object.hasOwn(facts, key)) throw new NotFound(`Encryption item ${key} was not found.`)
        return { status: 200, body: JSON.stringify(facts[key]) }
      },
    },
  ]

  async function show(request: BlockRequest): Promise<Readonly<Record<string, unknown>>> {
    const row = await getVolume(block.db, request, parameter(request, 'id'))
    authorize(request.identity, 'volume_extension:volume_encryption_metadata', row.project_id)
    const type = row.volume_type_id === null ? undefined : await findEncryption(block.db, row.volume_type_id)
    return {
      encryption_key_id: row.encryption_key_id,
      ...(type === undefined
        ? {}
        : {
            control_location: type.control_location,
            cipher: type.cipher,
            key_size: type.key_size,
            provider: type.provider,
          }),
    }
  }
}

import { Invalid } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { InvalidState } from '../errors.ts'
import { accepted, type BlockRequest, type Operation, parameter } from '../operation.ts'
import { authorize } from '../policy.ts'
import { getType, type TypeRow } from '../types/queries.ts'
import { getQosSpecs } from './queries.ts'

/** Which volume types QoS specs hold for. Upstream changes this with GET requests. @see specification 5.5 */
export function qosAssociationOperations(block: Block): readonly Operation[] {
  return [
    {
      method: 'GET',
      path: '/qos-specs/:id/associations',
      async run(request) {
        authorize(request.identity, 'volume_extension:qos_specs_manage:get_all')
        const { id } = await getQosSpecs(block.db, parameter(request, 'id'))
        const types = await block.db
          .selectFrom('volume_types')
          .select(['id', 'name'])
          .where('qos_specs_id', '=', id)
          .orderBy('name')
          .execute()
        const associations = types.map((type) => ({ ...type, association_type: 'volume_type' }))
        return { status: 200, body: { qos_associations: associations } }
      },
    },
    {
      method: 'GET',
      path: '/qos-specs/:id/associate',
      async run(request) {
        const { qosId, type } = await named(request)
        if (type.qos_specs_id !== null && type.qos_specs_id !== qosId) {
          throw new InvalidState(
            `Invalid volume type: Type ${type.id} is already associated with another qos specs: ${type.qos_specs_id}`,
          )
        }
        await setQosSpecs(type.id, qosId)
        return accepted
      },
    },
    {
      method: 'GET',
      path: '/qos-specs/:id/disassociate',
      async run(request) {
        const { qosId, type } = await named(request)
        if (type.qos_specs_id === qosId) await setQosSpecs(type.id, null)
        return accepted
      },
    },
    {
      method: 'GET',
      path: '/qos-specs/:id/disassociate_all',
      async run(request) {
        authorize(request.identity, 'volume_extension:qos_specs_manage:update')
        const { id } = await getQosSpecs(block.db, parameter(request, 'id'))
        await block.db
          .updateTable('volume_types')
          .set({ qos_specs_id: null })
          .where('qos_specs_id', '=', id)
          .execute()
        return accepted
      },
    },
  ]

  async function named(request: BlockRequest): Promise<{ qosId: string; type: TypeRow }> {
    authorize(request.identity, 'volume_extension:qos_specs_manage:update')
    const typeId = request.query.get('vol_type_id')
    if (!typeId) throw new Invalid('Volume Type id must not be None.')
    const { id: qosId } = await getQosSpecs(block.db, parameter(request, 'id'))
    return { qosId, type: await getType(block.db, request, typeId) }
  }

  async function setQosSpecs(typeId: string, qosId: string | null): Promise<void> {
    await block.db.updateTable('volume_types').set({ qos_specs_id: qosId }).where('id', '=', typeId).execute()
  }
}

import type { Block } from '../context.ts'
import { type Action, accepted, actionRoute, type Operation, operation, parameter } from '../operation.ts'
import { isAllowed } from '../policy.ts'
import { createVolume } from './create.ts'
import { deleteVolume } from './delete.ts'
import { volumeEncryptionOperations } from './encryption.ts'
import { answerVolumeList, answerVolumeSummary, flag } from './list.ts'
import { changeMetadata, metadataItem, metadataTag, onlyItem, showMetadata, without } from './metadata.ts'
import { attachmentsByVolume, getVolume, volumeNotFound } from './queries.ts'
import { createVolumeBody, metadataBody, metadataItemBody, updateVolumeBody } from './schemas.ts'
import { updateVolumeFacts } from './update.ts'
import { volumeJson } from './view.ts'

/** Everything under `/volumes`. */
export function volumeOperations(block: Block, actions: readonly Action[]): readonly Operation[] {
  return [
    ...resourceOperations(block),
    ...metadataOperations(block),
    ...volumeEncryptionOperations(block),
    actionRoute('/volumes/:id/action', actions),
  ]
}

function resourceOperations(block: Block): readonly Operation[] {
  return [
    { method: 'GET', path: '/volumes', run: (request) => answerVolumeList(block, request, false) },
    { method: 'GET', path: '/volumes/detail', run: (request) => answerVolumeList(block, request, true) },
    {
      method: 'GET',
      path: '/volumes/summary',
      since: 12,
      run: (request) => answerVolumeSummary(block, request),
    },
    operation({
      method: 'POST',
      path: '/volumes',
      body: createVolumeBody,
      async run(request, { volume, ...outside }) {
        const hints = outside['OS-SCH-HNT:scheduler_hints'] ?? outside.scheduler_hints
        const row = await createVolume(block, request, volume, { hints })
        return { status: 202, body: `{"volume":${volumeJson(row, [], request, 'create')}}` }
      },
    }),
    {
      method: 'GET',
      path: '/volumes/:id',
      async run(request) {
        const id = parameter(request, 'id')
        const row = await getVolume(block.db, request, id)
        if (!isAllowed(request.identity, 'volume:get', row.project_id)) throw volumeNotFound(id)
        const attachments = (await attachmentsByVolume(block.db, [row])).get(id) ?? []
        return { status: 200, body: `{"volume":${volumeJson(row, attachments, request, 'show')}}` }
      },
    },
    operation({
      method: 'PUT',
      path: '/volumes/:id',
      body: updateVolumeBody,
      async run(request, { volume }) {
        const row = await updateVolumeFacts(block, request, parameter(request, 'id'), volume)
        const attachments = (await attachmentsByVolume(block.db, [row])).get(row.id) ?? []
        return { status: 200, body: `{"volume":${volumeJson(row, attachments, request, 'create')}}` }
      },
    }),
    {
      method: 'DELETE',
      path: '/volumes/:id',
      async run(request) {
        const force = request.minor >= 23 && flag(request, 'force')
        const cascade = flag(request, 'cascade')
        await deleteVolume(block, request, parameter(request, 'id'), { force, cascade })
        return accepted
      },
    },
  ]
}

function metadataOperations(block: Block): readonly Operation[] {
  const path = '/volumes/:id/metadata'
  const id = (request: Parameters<typeof parameter>[0]) => parameter(request, 'id')
  return [
    {
      method: 'GET',
      path,
      async run(request) {
        const metadata = await showMetadata(block, request, id(request))
        const headers = request.minor >= 15 ? { etag: metadataTag(metadata) } : {}
        return { status: 200, body: { metadata }, headers }
      },
    },
    operation({
      method: 'POST',
      path,
      body: metadataBody,
      async run(request, body) {
        const rule = 'volume:create_volume_metadata'
        const metadata = await changeMetadata(block, request, id(request), rule, (before) => ({
          ...before,
          ...body.metadata,
        }))
        return { status: 200, body: { metadata } }
      },
    }),
    operation({
      method: 'PUT',
      path,
      body: metadataBody,
      async run(request, body) {
        const rule = 'volume:update_volume_metadata'
        const metadata = await changeMetadata(block, request, id(request), rule, () => body.metadata)
        return { status: 200, body: { metadata } }
      },
    }),
    {
      method: 'GET',
      path: `${path}/:key`,
      async run(request) {
        const metadata = await showMetadata(block, request, id(request))
        return { status: 200, body: { meta: metadataItem(metadata, parameter(request, 'key')) } }
      },
    },
    operation({
      method: 'PUT',
      path: `${path}/:key`,
      body: metadataItemBody,
      async run(request, { meta }) {
        const item = onlyItem(meta, parameter(request, 'key'))
        await changeMetadata(block, request, id(request), 'volume:update_volume_metadata', (before) => ({
          ...before,
          ...item,
        }))
        return { status: 200, body: { meta: item } }
      },
    }),
    {
      method: 'DELETE',
      path: `${path}/:key`,
      async run(request) {
        const key = parameter(request, 'key')
        await changeMetadata(block, request, id(request), 'volume:delete_volume_metadata', (before) =>
          without(before, key),
        )
        return { status: 200 }
      },
    },
  ]
}

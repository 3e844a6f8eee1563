import type { Block } from '../context.ts'
import { type Action, accepted, action, parameter } from '../operation.ts'
import { booleanOf } from '../validation.ts'
import {
  attachVolume,
  beginDetaching,
  detachVolume,
  initializeConnection,
  reserveVolume,
  rollDetaching,
  terminateConnection,
  unreserveVolume,
} from './actions/attach.ts'
import { setBootable, setReadOnly } from './actions/flags.ts'
import { setImageMetadata, showImageMetadata, unsetImageMetadata } from './actions/image-metadata.ts'
import { resetVolumeStatus } from './actions/os-reset-status.ts'
import { volumeBackendActions } from './backend-actions.ts'
import { deleteVolume } from './delete.ts'
import { extendVolume } from './extend.ts'
import {
  attachArgument,
  bootableArgument,
  connectorArgument,
  detachArgument,
  extendArgument,
  forceDetachArgument,
  noArgument,
  optionalConnectorArgument,
  readonlyArgument,
  resetStatusArgument,
  setImageMetadataArgument,
  unsetImageMetadataArgument,
} from './schemas.ts'

/** What `POST /volumes/{id}/action` knows, by the key in the body. */
export function volumeActions(block: Block): readonly Action[] {
  const id = (request: Parameters<typeof parameter>[0]) => parameter(request, 'id')
  return [
    ...volumeBackendActions(block),
    action({
      name: 'os-extend',
      body: extendArgument,
      async run(request, body) {
        await extendVolume(block, request, id(request), Number(body.new_size))
        return accepted
      },
    }),
    action({
      name: 'os-reserve',
      body: noArgument,
      async run(request) {
        await reserveVolume(block, request, id(request))
        return accepted
      },
    }),
    action({
      name: 'os-unreserve',
      body: noArgument,
      async run(request) {
        await unreserveVolume(block, request, id(request))
        return accepted
      },
    }),
    action({
      name: 'os-attach',
      body: attachArgument,
      async run(request, body) {
        await attachVolume(block, request, id(request), {
          instanceId: body.instance_uuid ?? null,
          host: body.host_name ?? null,
          mountpoint: body.mountpoint,
          mode: body.mode ?? 'rw',
        })
        return accepted
      },
    }),
    action({
      name: 'os-detach',
      body: detachArgument,
      async run(request, body) {
        await detachVolume(block, request, id(request), body?.attachment_id ?? null)
        return accepted
      },
    }),
    action({
      name: 'os-force_detach',
      body: forceDetachArgument,
      async run(request, body) {
        const connector = body.connector ?? null
        await detachVolume(block, request, id(request), body.attachment_id ?? null, { connector })
        return accepted
      },
    }),
    action({
      name: 'os-begin_detaching',
      body: noArgument,
      async run(request) {
        await beginDetaching(block, request, id(request))
        return accepted
      },
    }),
    action({
      name: 'os-roll_detaching',
      body: noArgument,
      async run(request) {
        await rollDetaching(block, request, id(request))
        return accepted
      },
    }),
    action({
      name: 'os-initialize_connection',
      body: connectorArgument,
      async run(request, body) {
        const connection = await initializeConnection(block, request, id(request), body.connector)
        return { status: 200, body: { connection_info: connection } }
      },
    }),
    action({
      name: 'os-terminate_connection',
      body: optionalConnectorArgument,
      async run(request, body) {
        await terminateConnection(block, request, id(request), body.connector ?? null)
        return accepted
      },
    }),
    action({
      name: 'os-set_bootable',
      body: bootableArgument,
      async run(request, body) {
        await setBootable(block, request, id(request), booleanOf(body.bootable))
        return { status: 200 }
      },
    }),
    action({
      name: 'os-update_readonly_flag',
      body: readonlyArgument,
      async run(request, body) {
        await setReadOnly(block, request, id(request), booleanOf(body.readonly))
        return accepted
      },
    }),
    action({
      name: 'os-reset_status',
      body: resetStatusArgument,
      async run(request, body) {
        await resetVolumeStatus(block, request, id(request), body)
        return accepted
      },
    }),
    action({
      name: 'os-force_delete',
      body: noArgument,
      async run(request) {
        await deleteVolume(block, request, id(request), { force: true })
        return accepted
      },
    }),
    action({
      name: 'os-set_image_metadata',
      body: setImageMetadataArgument,
      async run(request, body) {
        return {
          status: 200,
          body: { metadata: await setImageMetadata(block, request, id(request), body.metadata) },
        }
      },
    }),
    action({
      name: 'os-show_image_metadata',
      body: noArgument,
      async run(request) {
        return { status: 200, body: { metadata: await showImageMetadata(block, request, id(request)) } }
      },
    }),
    action({
      name: 'os-unset_image_metadata',
      body: unsetImageMetadataArgument,
      async run(request, body) {
        await unsetImageMetadata(block, request, id(request), body.key)
        return { status: 200 }
      },
    }),
  ]
}

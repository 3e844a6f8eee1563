import { hostname } from 'node:os'
import { type StorageNode, UpdateStorageNode } from '../../schemas/storage-node.ts'
import type { NodeContext } from '../context.ts'
import { invalidRequest, notFound } from '../errors.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { storageNodePath } from './app-instance-view.ts'
import { storageInstancePath, volumePath } from './locate.ts'

/** Drives and the like. The data directories are `hdds` and `flash_devices`; the others this process cannot see. */
const parts = ['nics', 'hdds', 'boot_drives', 'flash_devices', 'nvm_flash_devices', 'psus']

/** The one machine that this is. */
export function storageNodeRoutes(node: NodeContext): Route[] {
  const required = (request: ApiRequest) => {
    const key = request.param('uuid')
    const view = storageNodeView(node)
    if (key !== view.uuid && key !== view.name) throw notFound(`/storage_nodes/${key}`)
    return view
  }
  return [
    {
      method: 'GET',
      path: '/storage_nodes',
      summary: 'List storage nodes',
      handle: (request) => {
        const { items, page } = listOf(request, [storageNodeView(node)])
        return { data: items, page }
      },
    },
    {
      method: 'GET',
      path: '/storage_nodes/:uuid',
      summary: 'Read a storage node',
      handle: (request) => {
        const data = required(request)
        return { data, path: data.path }
      },
    },
    {
      method: 'PUT',
      path: '/storage_nodes/:uuid',
      summary: 'Update a storage node; the only one stays online',
      body: UpdateStorageNode,
      privilege: 'administrate',
      handle: (request) => {
        const data = required(request)
        const { admin_state } = request.body(UpdateStorageNode)
        if (admin_state !== undefined && admin_state !== 'online') {
          throw invalidRequest('The only storage node of a system cannot leave it')
        }
        return { data, path: data.path }
      },
    },
    ...parts.flatMap((part): Route[] => [
      {
        method: 'GET',
        path: `/storage_nodes/:uuid/${part}`,
        summary: `List ${part} of a storage node`,
        handle: (request) => {
          const { items, page } = listOf(request, drives(node, required(request).path, part))
          return { data: items, page }
        },
      },
      {
        method: 'GET',
        path: `/storage_nodes/:uuid/${part}/:id`,
        summary: `Read one of the ${part} of a storage node`,
        handle: (request) => {
          const { path } = required(request)
          const drive = drives(node, path, part).find(({ id }) => id === request.param('id'))
          if (drive === undefined) throw notFound(`${path}/${part}/${request.param('id')}`)
          return { data: drive, path: drive.path }
        },
      },
    ]),
    {
      method: 'GET',
      path: '/storage_nodes/:uuid/checks',
      summary: 'Read how the comparison of all data with their checksums is going, for each data directory',
      handle: (request) => {
        required(request)
        return { data: node.scrubber.states() }
      },
    },
    {
      method: 'POST',
      path: '/storage_nodes/:uuid/checks',
      summary: 'Check catalog, maps and all data now, while the node serves',
      privilege: 'administrate',
      handle: (request) => {
        required(request)
        node.scrubber.checkNow()
        return { data: node.scrubber.states() }
      },
    },
    {
      method: 'GET',
      path: '/storage_nodes/:uuid/subsystem_states',
      summary: 'Read the health of the machine',
      handle: (request) => ({ data: required(request).subsystem_states }),
    },
  ]
}

/** The data directories of a kind, as drives. */
function drives(node: NodeContext, path: string, part: string) {
  const kind = part === 'hdds' ? 'hdd' : part === 'flash_devices' ? 'flash' : undefined
  return node.store.media
    .filter((medium) => medium.kind === kind)
    .map((medium) => ({
      path: `${path}/${part}/${medium.id}`,
      id: medium.id,
      slot_label: medium.path,
      health: medium.failure === undefined ? 'ok' : 'critical',
      op_state: medium.failure === undefined ? 'active' : 'failed',
      size: medium.store?.usage().totalBytes ?? 0,
      causes: medium.failure === undefined ? [] : [medium.failure],
    }))
}

function storageNodeView(node: NodeContext): StorageNode {
  const path = storageNodePath(node)
  const { totalBytes, freeBytes } = node.store.usage()
  const volumes = node.database.all<{ ai: string; si: string; name: string }>(
    `SELECT si.app_instance AS ai, si.name AS si, volume.name FROM volume
     JOIN storage_instance si ON si.uuid = volume.storage_instance WHERE volume.state = 'ready' ORDER BY volume.seq
     LIMIT 1000`,
  )
  const instances = new Set(volumes.map(({ ai, si }) => storageInstancePath(ai, si)))
  const { media } = node.store
  const causes = media.flatMap((medium) =>
    medium.failure === undefined ? [] : [`the data directory ${medium.path} is missing: ${medium.failure}`],
  )
  const health = causes.length > 0 ? 'warning' : 'ok'
  const states = { network: 'ok', voltage: 'ok', temperature: 'ok', power: 'ok', fan: 'ok', health: 'ok' }
  return {
    path,
    uuid: node.identity.nodeUuid,
    name: hostname(),
    admin_state: 'online',
    op_state: 'online',
    op_status: '',
    health,
    hw_health: health,
    sw_health: 'ok',
    hw_state: 'ok',
    sw_state: 'ok',
    causes,
    type: media.every(({ kind }) => kind === 'flash') ? 'all_flash' : 'hybrid',
    model: 'EDF node',
    vendor: 'Emberglass',
    serial_no: node.identity.nodeUuid,
    bios_version: '',
    os_version: `${process.platform} ${process.arch}`,
    sw_version: node.productVersion,
    build_version: `${node.productVersion}-emberglass`,
    mgmt_ip_1: node.managementAddress,
    mgmt_ip_2: '',
    internal_ip_1: node.managementAddress,
    internal_ip_2: '',
    total_capacity: totalBytes,
    total_raw_capacity: totalBytes,
    available_capacity: freeBytes,
    compression_enabled: false,
    compression_ratio: '1.0',
    disconnected: false,
    last_reboot_timestamp: String(Math.floor(node.startedAt.getTime() / 1000)),
    // Only while there is some: the Go SDK up to 1.1 takes it for a string.
    ...(node.rebuilds.progress !== undefined && { op_progress: { rebuild: { ...node.rebuilds.progress } } }),
    subsystem_states: { path: `${path}/subsystem_states`, ...states, causes: [] },
    subsystem_health: [],
    hdds: drives(node, path, 'hdds'),
    flash_devices: drives(node, path, 'flash_devices'),
    nvm_flash_devices: [],
    boot_drives: [],
    nics: [],
    psus: [],
    volumes: volumes.map(({ ai, si, name }) => ({ path: volumePath(ai, si, name) })),
    storage_instances: [...instances].map((instance) => ({ path: instance })),
    upgrade: {},
    failure_domains: [],
    media_policy: '/media_policies/default',
  }
}

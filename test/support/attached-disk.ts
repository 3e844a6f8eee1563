import assert from 'node:assert/strict'
import { type BlockDevice, openIscsiDisk } from '@emberglass/iscsi'
import type { Api } from './api.ts'

/** Attaches a volume as a host does, works on it over iSCSI, and detaches it. */
export async function withAttachedDisk<Result>(
  api: Api,
  volumeId: string,
  work: (disk: BlockDevice, cancel: { readonly signal: AbortSignal }) => Promise<Result>,
): Promise<Result> {
  const initiator = 'iqn.1993-08.org.debian:01:digest'
  const attachment = {
    volume_uuid: volumeId,
    instance_uuid: '3c5a1f5e-8a86-4a56-8f34-6f3a5cbb0a11',
    connector: { initiator, ip: '127.0.0.1', host: 'digest', multipath: false },
  }
  const attached = await api.block('POST', '/attachments', { attachment }, '3.27')
  assert.equal(attached.status, 200, JSON.stringify(attached.body))
  const path = `/attachments/${attached.body.attachment.id}`
  const completed = await api.block('POST', `${path}/action`, { 'os-complete': null }, '3.44')
  assert.equal(completed.status, 204, JSON.stringify(completed.body))
  const connection = attached.body.attachment.connection_info
  const [host, port] = String(connection.target_portal).split(':')
  const cancel = { signal: AbortSignal.timeout(180_000) }
  let result: Result
  {
    const options = {
      portals: [{ host: host ?? '', port: Number(port) }],
      targetName: connection.target_iqn,
      lun: connection.target_lun,
      initiatorName: initiator,
    }
    await using disk = await openIscsiDisk(options, cancel)
    result = await work(disk, cancel)
  }
  const detached = await api.block('DELETE', path, undefined, '3.27')
  assert.equal(detached.status, 200, JSON.stringify(detached.body))
  return result
}

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { openIscsiDisk, readBytes } from '@emberglass/iscsi'
import type { Api } from './api.ts'

const chunkBytes = 4 * 1024 * 1024

/**
 * SHA-512 of a volume's first bytes, read as a host reads them: attached, and over iSCSI.
 * @param length in bytes, a multiple of 4 MiB
 */
export async function volumeDigest(api: Api, id: string, length: number): Promise<string> {
  const initiator = 'iqn.1993-08.org.debian:01:digest'
  const attachment = {
    volume_uuid: id,
    instance_uuid: '3c5a1f5e-8a86-4a56-8f34-6f3a5cbb0a11',
    connector: { initiator, ip: '127.0.0.1', host: 'digest', multipath: false },
  }
  const attached = await api.block('POST', '/attachments', { attachment }, '3.27')
  assert.equal(attached.status, 200, JSON.stringify(attached.body))
  const connection = attached.body.attachment.connection_info
  const [host, port] = String(connection.target_portal).split(':')
  const cancel = { signal: AbortSignal.timeout(60_000) }
  const hash = createHash('sha512')
  {
    await using disk = await openIscsiDisk(
      {
        portals: [{ host: host ?? '', port: Number(port) }],
        targetName: connection.target_iqn,
        lun: connection.target_lun,
        initiatorName: initiator,
      },
      cancel,
    )
    for (let offset = 0; offset < length; offset += chunkBytes) {
      hash.update(await readBytes(disk, offset, chunkBytes, cancel))
    }
  }
  const path = `/attachments/${attached.body.attachment.id}`
  const detached = await api.block('DELETE', path, undefined, '3.27')
  assert.equal(detached.status, 200, JSON.stringify(detached.body))
  return hash.digest('hex')
}

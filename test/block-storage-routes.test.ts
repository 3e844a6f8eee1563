import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { startTestBlock, type TestAnswer } from '../src/block/testing.ts'
import { onEachEngine } from '../src/kernel/db/testing.ts'

/** One operation of the contract. @see test/contracts/block-storage-routes.json */
interface ContractRoute {
  readonly id: string
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly path: string
  /** The key of the body, for one of several operations behind one URL. */
  readonly action: string | null
  readonly min_microversion: string
}

const contract = JSON.parse(
  readFileSync(join(import.meta.dirname, 'contracts', 'block-storage-routes.json'), 'utf8'),
) as readonly ContractRoute[] // our own file

/** Operations of the contract that are not there yet: whoever adds one removes it here. */
const owed: readonly string[] = [
  'backups.action.os-force_delete',
  'backups.action.os-reset_status',
  'backups.create',
  'backups.delete',
  'backups.export_record',
  'backups.import_record',
  'backups.list',
  'backups.list_detail',
  'backups.restore',
  'backups.show',
  'backups.update',
  'legacy_manage.snapshot_list',
  'legacy_manage.snapshot_list_detail',
  'legacy_manage.snapshot_manage',
  'legacy_manage.volume_list',
  'legacy_manage.volume_list_detail',
  'legacy_manage.volume_manage',
  'manageable_snapshots.list',
  'manageable_snapshots.list_detail',
  'manageable_snapshots.manage',
  'manageable_volumes.list',
  'manageable_volumes.list_detail',
  'manageable_volumes.manage',
  'os_volume_transfer.accept',
  'os_volume_transfer.create',
  'os_volume_transfer.delete',
  'os_volume_transfer.list',
  'os_volume_transfer.list_detail',
  'os_volume_transfer.show',
  'snapshots.action.os-unmanage',
  'transfers.accept',
  'transfers.create',
  'transfers.delete',
  'transfers.list',
  'transfers.list_detail',
  'transfers.show',
  'volumes.action.os-extend_volume_completion',
  'volumes.action.os-migrate_volume',
  'volumes.action.os-migrate_volume_completion',
  'volumes.action.os-reimage',
  'volumes.action.os-retype',
  'volumes.action.os-unmanage',
  'volumes.action.os-volume_upload_image',
  'volumes.action.revert',
]

/** What the API says of a URL that it does not have, of any resource that it does not have, and of an action. */
const noRoute = 'The resource could not be found.'
const noAction = 'There is no such action'

onEachEngine((engine) => {
  test(`every operation of the contract has a route, on ${engine.name}`, async (context) => {
    await using block = await startTestBlock(engine)
    const missing: string[] = []
    for (const route of contract) {
      const path = route.path.replace('/v3/{project_id}', '/v3').replaceAll(/\{\w+\}/g, () => randomUUID())
      const body = bodyOf(route)
      const answer = await block.request('admin', route.method, path, {
        unversioned: true,
        version: route.min_microversion,
        ...(body === undefined ? {} : { body }),
      })
      if (isMissing(answer)) missing.push(route.id)
      assert.ok(answer.status < 500, `${route.id} answered ${answer.status}: ${answer.text}`)
    }
    const done = owed.filter((id) => !missing.includes(id))
    if (done.length > 0) context.diagnostic(`no longer owed: ${done.join(', ')}`)
    assert.deepEqual(
      missing.filter((id) => !owed.includes(id)),
      [],
    )
  })

  test(`an operation does not exist below its microversion, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    for (const route of contract) {
      const minor = Number(route.min_microversion.split('.')[1])
      if (minor === 0 || owed.includes(route.id)) continue
      const path = route.path.replace('/v3/{project_id}', '/v3').replaceAll(/\{\w+\}/g, () => randomUUID())
      const body = bodyOf(route)
      const answer = await block.request('admin', route.method, path, {
        unversioned: true,
        version: `3.${minor - 1}`,
        ...(body === undefined ? {} : { body }),
      })
      assert.ok([400, 404].includes(answer.status), `${route.id} answered ${answer.status} too early`)
    }
  })
})

function bodyOf({ method, action }: ContractRoute): object | undefined {
  if (action !== null) return { [action]: {} }
  return method === 'POST' || method === 'PUT' ? {} : undefined
}

function isMissing({ status, text }: TestAnswer): boolean {
  return (status === 404 && text.includes(noRoute)) || (status === 400 && text.includes(noAction))
}

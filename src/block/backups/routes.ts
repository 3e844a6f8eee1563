import { Type } from 'typebox'
import { Invalid } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { wireDate } from '../links.ts'
import { notifyBackup } from '../notifications/backups.ts'
import {
  accepted,
  action,
  actionRoute,
  type BlockRequest,
  type Operation,
  operation,
  parameter,
} from '../operation.ts'
import { authorize } from '../policy.ts'
import { closed, Metadata, Name, validator } from '../validation.ts'
import { noArgument } from '../volumes/schemas.ts'
import { requireBackupHost } from './backup-service.ts'
import { createBackup, createBackupBody } from './create.ts'
import { deleteBackup } from './delete.ts'
import { answerBackupList } from './list.ts'
import { type Activity, percentOf } from './progress.ts'
import { getBackup, lockBackup, updateBackup } from './queries.ts'
import { exportRecord, importBody, importRecord } from './records.ts'
import { restoreBackup, restoreBody } from './restore.ts'
import { verifyBackup } from './verify.ts'
import { backupJson, backupSummaryJson } from './view.ts'

const names = { name: Type.Optional(Name), description: Type.Optional(Name) }
const updateBody = validator(closed({ backup: closed(names) }))
const updateBodyWithMetadata = validator(
  closed({ backup: closed({ ...names, metadata: Type.Optional(Metadata) }) }),
)
const statusArgument = validator(
  closed({
    status: Type.Union([Type.Literal('available'), Type.Literal('error')], {
      description: "is not one of ['available', 'error']",
    }),
  }),
)

/** Everything under `/backups`. @see block-storage-api specification 4.4, 5.11 */
export function backupOperations(block: Block): readonly Operation[] {
  return [
    ...collectionOperations(block),
    ...resourceOperations(block),
    ...recordOperations(block),
    actionRoute('/backups/:id/action', actionsOf(block)),
  ]
}

function collectionOperations(block: Block): readonly Operation[] {
  return [
    { method: 'GET', path: '/backups', run: (request) => answerBackupList(block, request, false) },
    { method: 'GET', path: '/backups/detail', run: (request) => answerBackupList(block, request, true) },
    operation({
      method: 'POST',
      path: '/backups',
      body: createBackupBody,
      async run(request, { backup }) {
        const row = await createBackup(block, request, backup)
        return { status: 202, body: `{"backup":${backupSummaryJson(row, request)}}` }
      },
    }),
  ]
}

function resourceOperations(block: Block): readonly Operation[] {
  const get = async (request: BlockRequest) => {
    const row = await getBackup(block.db, request, parameter(request, 'id'))
    authorize(request.identity, 'backup:get', row.project_id)
    return row
  }
  return [
    {
      method: 'GET',
      path: '/backups/:id',
      run: async (request) => ({
        status: 200,
        body: `{"backup":${backupJson(await get(request), request)}}`,
      }),
    },
    {
      method: 'GET',
      path: '/backups/:id/progress',
      run: async (request) => ({ status: 200, body: progressView((await get(request)).activity) }),
    },
    operation({
      method: 'PUT',
      path: '/backups/:id',
      since: 9,
      body: (minor) => (minor >= 43 ? updateBodyWithMetadata : updateBody),
      async run(request, { backup }) {
        const id = parameter(request, 'id')
        const { name, description } = backup
        const metadata = 'metadata' in backup ? backup.metadata : undefined
        if (name === undefined && description === undefined && metadata === undefined) {
          throw new Invalid('Must specify at least one of name, description or metadata to update a backup.')
        }
        const row = await block.db.transaction().execute(async (transaction) => {
          const before = await lockBackup(transaction, request, id)
          authorize(request.identity, 'backup:update', before.project_id)
          const after = await updateBackup(transaction, id, {
            ...(name === undefined ? {} : { name: name?.trim() ?? null }),
            ...(description === undefined ? {} : { description: description?.trim() ?? null }),
            ...(metadata === undefined ? {} : { metadata: JSON.stringify(metadata) }),
            updated_at: block.now().toISOString(),
          })
          return after ?? before
        })
        return { status: 200, body: `{"backup":${backupSummaryJson(row, request)}}` }
      },
    }),
    {
      method: 'DELETE',
      path: '/backups/:id',
      async run(request) {
        await deleteBackup(block, request, parameter(request, 'id'))
        return accepted
      },
    },
    operation({
      method: 'POST',
      path: '/backups/:id/restore',
      body: restoreBody,
      async run(request, { restore }) {
        const id = parameter(request, 'id')
        const volume = await restoreBackup(block, request, id, restore)
        const body = { restore: { backup_id: id, volume_id: volume.id, volume_name: volume.name } }
        return { status: 202, body }
      },
    }),
  ]
}

/** What is being done with a backup, or was last. */
function progressView(activity: string | null): object {
  if (activity === null) return { progress: null }
  const found = JSON.parse(activity) as Activity // only our own jobs write it
  return {
    progress: {
      operation: found.operation,
      percent: percentOf(found),
      done_bytes: found.doneBytes,
      total_bytes: found.totalBytes,
      started_at: wireDate(found.startedAt),
      updated_at: wireDate(found.updatedAt),
      finished_at: wireDate(found.finishedAt ?? null),
      error: found.error ?? null,
    },
  }
}

function recordOperations(block: Block): readonly Operation[] {
  return [
    {
      method: 'GET',
      path: '/backups/:id/export_record',
      async run(request) {
        const record = await exportRecord(block, request, parameter(request, 'id'))
        return { status: 200, body: { 'backup-record': record } }
      },
    },
    operation({
      method: 'POST',
      path: '/backups/import_record',
      body: importBody,
      async run(request, body) {
        const row = await importRecord(block, request, body['backup-record'])
        return { status: 201, body: `{"backup":${backupSummaryJson(row, request)}}` }
      },
    }),
  ]
}

function actionsOf(block: Block) {
  return [
    action({
      name: 'os-reset_status',
      body: statusArgument,
      async run(request, { status }) {
        await block.db.transaction().execute(async (transaction) => {
          const id = parameter(request, 'id')
          const backup = await lockBackup(transaction, request, id)
          const rule = 'volume_extension:backup_admin_actions:reset_status'
          authorize(request.identity, rule, backup.project_id)
          await requireBackupHost(block, transaction, backup.availability_zone)
          const updated_at = block.now().toISOString()
          const after = await updateBackup(transaction, id, { status, updated_at })
          notifyBackup(block, 'reset_status.end', after ?? backup)
        })
        return accepted
      },
    }),
    action({
      name: 'os-force_delete',
      body: noArgument,
      async run(request) {
        await deleteBackup(block, request, parameter(request, 'id'), true)
        return accepted
      },
    }),
    action({
      name: 'emberglass-verify',
      body: noArgument,
      async run(request) {
        await verifyBackup(block, request, parameter(request, 'id'))
        return accepted
      },
    }),
  ]
}

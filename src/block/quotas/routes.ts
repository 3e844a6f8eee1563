import { Type } from 'typebox'
import { Forbidden, Invalid } from '../../kernel/errors.ts'
import type { Block, BlockDb } from '../context.ts'
import { type Answer, type BlockRequest, type Operation, operation, parameter } from '../operation.ts'
import { authorize, type Rule } from '../policy.ts'
import { closed, laxInteger, queryBoolean, validator } from '../validation.ts'
import { defaultLimits, projectLimits, projectUsage } from './limits.ts'

const limit = Type.Union([laxInteger(-1), Type.Null()])
const quotaSetBody = validator(closed({ quota_set: Type.Record(Type.String(), Type.Unknown()) }))
const quotaClassBody = validator(closed({ quota_class_set: Type.Record(Type.String(), Type.Unknown()) }))
const limitValue = validator(limit)

/** Quota sets, quota classes and limits. @see block-storage-api specification 5.1 */
export function quotaOperations(block: Block): readonly Operation[] {
  const path = '/os-quota-sets/:target'
  return [
    { method: 'GET', path: '/limits', run: (request) => answerLimits(block, request) },
    { method: 'GET', path, run: (request) => showQuotaSet(block, request) },
    {
      method: 'GET',
      path: `${path}/defaults`,
      async run(request) {
        const target = authorizeTarget(request, 'volume_extension:quotas:show')
        const limits = await defaultLimits(block.db, block.settings)
        return { status: 200, body: { quota_set: { id: target, ...limits } } }
      },
    },
    operation({
      method: 'PUT',
      path,
      body: quotaSetBody,
      async run(request, { quota_set: body }) {
        authorize(request.identity, 'volume_extension:quotas:update')
        const limits = await updateQuotaSet(block, parameter(request, 'target'), body)
        return { status: 200, body: { quota_set: limits } }
      },
    }),
    {
      method: 'DELETE',
      path,
      async run(request) {
        authorize(request.identity, 'volume_extension:quotas:delete')
        await block.db
          .deleteFrom('volume_quotas')
          .where('project_id', '=', parameter(request, 'target'))
          .execute()
        return { status: 200 }
      },
    },
    {
      method: 'GET',
      path: '/os-quota-class-sets/:name',
      async run(request) {
        authorize(request.identity, 'volume_extension:quota_classes:get')
        const name = parameter(request, 'name')
        const limits = await defaultLimits(block.db, block.settings, name)
        return { status: 200, body: { quota_class_set: { id: name, ...limits } } }
      },
    },
    operation({
      method: 'PUT',
      path: '/os-quota-class-sets/:name',
      body: quotaClassBody,
      async run(request, { quota_class_set: body }) {
        authorize(request.identity, 'volume_extension:quota_classes:update')
        const name = parameter(request, 'name')
        const limits = await block.db.transaction().execute(async (transaction) => {
          const changes = await readLimits(transaction, block, body)
          for (const [resource, hard_limit] of changes) {
            await transaction
              .insertInto('volume_quota_classes')
              .values({ class_name: name, resource, hard_limit })
              .onConflict((conflict) =>
                conflict.columns(['class_name', 'resource']).doUpdateSet({ hard_limit }),
              )
              .execute()
          }
          return await defaultLimits(transaction, block.settings, name)
        })
        return { status: 200, body: { quota_class_set: limits } }
      },
    }),
  ]
}

/** The project in the path: the caller's own, unless an admin asks. @throws Forbidden */
function authorizeTarget(request: BlockRequest, rule: Rule): string {
  const target = parameter(request, 'target')
  authorize(request.identity, rule)
  if (!request.isAdmin && target !== request.projectId) {
    throw new Forbidden(`Policy doesn't allow ${rule} to be performed.`)
  }
  return target
}

async function showQuotaSet(block: Block, request: BlockRequest): Promise<Answer> {
  const target = authorizeTarget(request, 'volume_extension:quotas:show')
  const limits = await projectLimits(block.db, block.settings, target)
  const asked = request.query.get('usage')
  if (asked === null || !queryBoolean('usage', asked)) {
    return { status: 200, body: { quota_set: { id: target, ...limits } } }
  }
  const usage = await projectUsage(block.db, block.settings, target)
  const set = Object.entries(limits).map(([resource, value]) => {
    const used = usage.get(resource)
    return [resource, { limit: value, in_use: used?.inUse ?? 0, reserved: used?.reserved ?? 0 }]
  })
  return { status: 200, body: { quota_set: { id: target, ...Object.fromEntries(set) } } }
}

async function updateQuotaSet(
  block: Block,
  target: string,
  body: Readonly<Record<string, unknown>>,
): Promise<Record<string, number>> {
  return await block.db.transaction().execute(async (transaction) => {
    const changes = await readLimits(transaction, block, body)
    const usage = await projectUsage(transaction, block.settings, target)
    for (const [resource, hard_limit] of changes) {
      const used = usage.get(resource)
      const consumed = (used?.inUse ?? 0) + (used?.reserved ?? 0)
      if (hard_limit >= 0 && hard_limit < consumed) {
        throw new Invalid(
          `Invalid input received: Quota limit ${hard_limit} for ${resource} must be equal or greater than in-use resources ${consumed}.`,
        )
      }
      await transaction
        .insertInto('volume_quotas')
        .values({ project_id: target, resource, hard_limit })
        .onConflict((conflict) => conflict.columns(['project_id', 'resource']).doUpdateSet({ hard_limit }))
        .execute()
    }
    return await projectLimits(transaction, block.settings, target)
  })
}

/** The limits in a body, by resource. @throws Invalid for unknown resources and values out of range */
async function readLimits(
  db: BlockDb,
  block: Block,
  body: Readonly<Record<string, unknown>>,
): Promise<readonly (readonly [string, number])[]> {
  const ignored = ['tenant_id', 'id']
  const entries = Object.entries(body).filter(([name]) => !ignored.includes(name))
  if (Object.keys(body).length === 0) {
    throw new Invalid(
      'Invalid input for field/attribute quota_set. Value: {}. {} does not have enough properties',
    )
  }
  const known = await defaultLimits(db, block.settings)
  const unknown = entries.map(([name]) => name).filter((name) => !Object.hasOwn(known, name))
  if (unknown.length > 0) throw new Invalid(`Bad key(s) in quota set: ${unknown.join(',')}`)
  return entries.flatMap(([name, value]) => {
    const checked = limitValue.check(value)
    return checked === null ? [] : [[name, Number(checked)] as const]
  })
}

async function answerLimits(block: Block, request: BlockRequest): Promise<Answer> {
  authorize(request.identity, 'limits_extension:used_limits')
  const asked = request.minor >= 39 && request.isAdmin ? request.query.get('project_id') : null
  const target = asked || request.projectId
  const limits = await projectLimits(block.db, block.settings, target)
  const usage = await projectUsage(block.db, block.settings, target)
  const used = (resource: string) => {
    const found = usage.get(resource)
    return (found?.inUse ?? 0) + (found?.reserved ?? 0)
  }
  const absolute = {
    maxTotalVolumes: limits['volumes'],
    maxTotalVolumeGigabytes: limits['gigabytes'],
    maxTotalSnapshots: limits['snapshots'],
    maxTotalBackups: limits['backups'],
    maxTotalBackupGigabytes: limits['backup_gigabytes'],
    totalVolumesUsed: used('volumes'),
    totalGigabytesUsed: used('gigabytes'),
    totalSnapshotsUsed: used('snapshots'),
    totalBackupsUsed: used('backups'),
    totalBackupGigabytesUsed: used('backup_gigabytes'),
  }
  return { status: 200, body: { limits: { rate: [], absolute } } }
}

import { sql } from 'kysely'
import { Type } from 'typebox'
import { Invalid, NotFound } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { wireDate } from '../links.ts'
import { type Operation, operation, parameter } from '../operation.ts'
import { authorize } from '../policy.ts'
import { validator } from '../validation.ts'

const updateBody = validator(Type.Object({ status: Type.Optional(Type.String()) }))

interface ProjectShare {
  readonly project: string
  readonly volumes: number
  readonly volumeGib: number
  readonly snapshots: number
  readonly snapshotGib: number
}

/** `/os-hosts`. @see block-storage-api specification 3.12 */
export function hostOperations(block: Block): readonly Operation[] {
  return [
    {
      method: 'GET',
      path: '/os-hosts',
      async run(request) {
        authorize(request.identity, 'volume_extension:hosts')
        const { query } = request
        let select = block.db.selectFrom('volume_services').selectAll().orderBy('binary').orderBy('host')
        const zone = query.get('zone')
        if (zone !== null) select = select.where('availability_zone', '=', zone)
        const service = query.get('service')
        if (service !== null) select = select.where('binary', '=', service)
        const oldest = block.now().getTime() - block.settings.serviceDownSeconds * 1000
        const hosts = (await select.execute()).map((row) => ({
          host_name: row.host,
          service: row.binary,
          zone: row.availability_zone,
          'service-status': Date.parse(row.updated_at) >= oldest ? 'available' : 'unavailable',
          'service-state': row.disabled === 1 ? 'disabled' : 'enabled',
          'last-update': wireDate(row.updated_at),
        }))
        return { status: 200, body: { hosts } }
      },
    },
    {
      method: 'GET',
      path: '/os-hosts/:host',
      async run(request) {
        authorize(request.identity, 'volume_extension:hosts')
        const host = parameter(request, 'host')
        await requireHost(host)
        const shares = await sharesOf(host)
        const total = shares.reduce(
          (sum, share) => ({
            project: '(total)',
            volumes: sum.volumes + share.volumes,
            volumeGib: sum.volumeGib + share.volumeGib,
            snapshots: sum.snapshots + share.snapshots,
            snapshotGib: sum.snapshotGib + share.snapshotGib,
          }),
          nothing,
        )
        return { status: 200, body: { host: [total, ...shares].map((share) => resource(host, share)) } }
      },
    },
    operation({
      method: 'PUT',
      path: '/os-hosts/:host',
      body: updateBody,
      async run(request, { status }) {
        authorize(request.identity, 'volume_extension:hosts')
        const host = parameter(request, 'host')
        if (status !== 'enable' && status !== 'disable') throw new Invalid(`Invalid status: '${status}'`)
        await requireHost(host)
        await block.db
          .updateTable('volume_services')
          .set({ disabled: status === 'disable' ? 1 : 0, disabled_reason: null })
          .where('host', '=', host)
          .execute()
        return { status: 200, body: { host, status: `${status}d` } }
      },
    }),
  ]

  async function requireHost(host: string): Promise<void> {
    const row = await block.db
      .selectFrom('volume_services')
      .select('id')
      .where('host', '=', host)
      .executeTakeFirst()
    if (row === undefined) throw new NotFound(`Host ${host} could not be found.`)
  }

  /** What each project has on a backend, pools together. */
  async function sharesOf(host: string): Promise<readonly ProjectShare[]> {
    const onHost = sql`(volumes.host = ${host} or (volumes.host >= ${`${host}#`} and volumes.host < ${`${host}$`}))`
    const { rows } = await sql<ProjectShare & { volumeGib: number }>`
      select volumes.project_id as project, count(*) as volumes, sum(volumes.size_gib) as "volumeGib",
        coalesce(sum(shots.count), 0) as snapshots, coalesce(sum(shots.size), 0) as "snapshotGib"
      from volumes left join (
        select volume_id, count(*) as count, sum(size_gib) as size from snapshots group by volume_id
      ) as shots on shots.volume_id = volumes.id
      where ${onHost} group by volumes.project_id order by volumes.project_id`.execute(block.db)
    return rows.map((row) => ({
      project: row.project,
      volumes: Number(row.volumes),
      volumeGib: Number(row.volumeGib),
      snapshots: Number(row.snapshots),
      snapshotGib: Number(row.snapshotGib),
    }))
  }
}

const nothing: ProjectShare = { project: '(total)', volumes: 0, volumeGib: 0, snapshots: 0, snapshotGib: 0 }

/** Upstream's numbers are text here. */
function resource(host: string, share: ProjectShare): object {
  return {
    resource: {
      volume_count: String(share.volumes),
      total_volume_gb: String(share.volumeGib),
      total_snapshot_gb: String(share.snapshotGib),
      project: share.project,
      host,
      snapshot_count: String(share.snapshots),
    },
  }
}

import { GiB } from '../../../kernel/bytes.ts'
import { Invalid } from '../../../kernel/errors.ts'
import type { Block } from '../../context.ts'
import type { Answer, BlockRequest, Operation } from '../../operation.ts'
import { authorize } from '../../policy.ts'
import { parsePythonLiteral } from '../../python-literal.ts'
import type { Manageable, ManageableSnapshot } from '../../volume-driver.ts'
import { backendToManage, hostIn, needFeature } from './backend.ts'
import { knownOn } from './known.ts'

/** What lists of manageable things can be sorted by. */
const sortKeys = ['reference', 'size'] as const

/** `GET` of both families of URLs, for volumes and for snapshots. @see block-storage-api specification 3.12, 5.8 */
export function manageableListOperations(block: Block): readonly Operation[] {
  const route = (
    path: string,
    since: number,
    run: (request: BlockRequest, detail: boolean) => Promise<Answer>,
  ) => [
    { method: 'GET' as const, path, since, run: (request: BlockRequest) => run(request, false) },
    {
      method: 'GET' as const,
      path: `${path}/detail`,
      since,
      run: (request: BlockRequest) => run(request, true),
    },
  ]
  const volumes = (request: BlockRequest, detail: boolean) => listVolumes(block, request, detail)
  const snapshots = (request: BlockRequest, detail: boolean) => listSnapshots(block, request, detail)
  return [
    ...route('/manageable_volumes', 8, volumes),
    ...route('/os-volume-manage', 0, volumes),
    ...route('/manageable_snapshots', 8, snapshots),
    ...route('/os-snapshot-manage', 0, snapshots),
  ]
}

async function listVolumes(block: Block, request: BlockRequest, detail: boolean): Promise<Answer> {
  authorize(request.identity, 'volume_extension:list_manageable')
  const backend = await backendToManage(block, request, hostOf(request))
  const manage = needFeature(backend.driver.manage, 'list what could be managed')
  const found = await manage.list(await knownOn(block, backend.host), request)
  const views = page(request, found).map((one) => view(one, detail))
  return { status: 200, body: { 'manageable-volumes': views } }
}

async function listSnapshots(block: Block, request: BlockRequest, detail: boolean): Promise<Answer> {
  authorize(request.identity, 'snapshot_extension:list_manageable')
  const backend = await backendToManage(block, request, hostOf(request))
  const manage = needFeature(backend.driver.manageSnapshots, 'list what snapshots could be managed')
  const found = await manage.list(await knownOn(block, backend.host), request)
  const views = page(request, found).map((one: ManageableSnapshot) => ({
    ...view(one, detail),
    source_reference: one.sourceReference,
  }))
  return { status: 200, body: { 'manageable-snapshots': views } }
}

function hostOf({ query, minor }: BlockRequest): string {
  return hostIn(minor, 17, { host: query.get('host'), cluster: query.get('cluster') })
}

const sizeGib = (one: Manageable) => Math.ceil(one.sizeBytes / GiB)

function view(one: Manageable, detail: boolean): object {
  return {
    reference: one.reference,
    size: sizeGib(one),
    safe_to_manage: one.safeToManage,
    ...(detail
      ? {
          reason_not_safe: one.reasonNotSafe ?? null,
          cinder_id: one.managedAs ?? null,
          extra_info: one.extraInfo ?? null,
        }
      : {}),
  }
}

/** Sorts and cuts. The marker is a reference, as JSON or as a Python dictionary. */
function page<One extends Manageable>(request: BlockRequest, all: readonly One[]): readonly One[] {
  const { query } = request
  const number = (name: string, fallback: number) => {
    const text = query.get(name) ?? String(fallback)
    if (!/^\d+$/.test(text)) {
      throw new Invalid(`${name} param must be a whole number that is not negative, not '${text}'`)
    }
    return Number(text)
  }
  const [key = 'reference', direction = 'desc'] = (
    query.get('sort') ?? `${query.get('sort_key') ?? 'reference'}:${query.get('sort_dir') ?? 'desc'}`
  ).split(':')
  const sortKey = sortKeys.find((known) => known === key)
  if (sortKey === undefined || (direction !== 'asc' && direction !== 'desc')) {
    throw new Invalid(
      `Invalid sort keys passed: ${key}. Sort key and direction must be of ${sortKeys.join(', ')}.`,
    )
  }
  const sign = direction === 'asc' ? 1 : -1
  const textOf = (one: One) => JSON.stringify(one.reference)
  const sorted = [...all].sort((a, b) => {
    const bySize = sortKey === 'size' ? sizeGib(a) - sizeGib(b) : 0
    return sign * (bySize || (textOf(a) < textOf(b) ? -1 : 1))
  })
  const marker = query.get('marker')
  let from = 0
  if (marker !== null) {
    const wanted = JSON.stringify(parsePythonLiteral(marker) ?? marker)
    from = sorted.findIndex((one) => textOf(one) === wanted || textOf(one) === marker) + 1
    if (from === 0) throw new Invalid(`Invalid input received: marker ${marker} could not be found.`)
  }
  const start = from + number('offset', 0)
  return sorted.slice(start, start + number('limit', Number.MAX_SAFE_INTEGER))
}

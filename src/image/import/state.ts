import type { Job, Json } from '../../kernel/jobs/job-queue.ts'
import type { Environment } from '../environment.ts'
import { detailed } from '../images/access.ts'
import { requireRow } from '../images/queries.ts'

/** What glance-download learned of the image that it copies. */
export type RemoteFacts = {
  containerFormat: string
  diskFormat: string
  properties: Record<string, string>
}

/** How far an import has come, as its job writes it down. */
export type ImportState = {
  remote?: RemoteFacts
  /** The image before plugins or glance-download changed it, for when the import fails. */
  before?: RemoteFacts
  /** Name of the staged data that counts: the image's id, or what a plugin has made. */
  staged?: string
  /** Plugins that have run. */
  done?: string[]
}

export function stateOf(job: Pick<Job, 'state'>): ImportState {
  const { state } = job
  return typeof state === 'object' && state !== null && !Array.isArray(state) ? (state as ImportState) : {}
}

export async function saveState(job: Job, change: ImportState): Promise<void> {
  await job.save({ ...stateOf(job), ...change } as Json) // plain data
}

/** Writes down what the image is now, once. */
export async function rememberBefore(environment: Environment, job: Job, imageId: string): Promise<void> {
  if (stateOf(job).before !== undefined) return
  const image = await detailed(environment.db, await requireRow(environment.db, imageId))
  const own = Object.entries(image.properties).filter(([name]) => !name.startsWith('os_glance'))
  await saveState(job, {
    before: {
      containerFormat: image.container_format ?? '',
      diskFormat: image.disk_format ?? '',
      properties: Object.fromEntries(own),
    },
  })
}

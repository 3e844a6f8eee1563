import type { Call } from '../../../kernel/call.ts'
import type { Job } from '../../../kernel/jobs/job-queue.ts'
import type { Environment } from '../../environment.ts'
import type { ImportPayload } from '../job.ts'
import { saveState, stateOf } from '../state.ts'
import { convertImage } from './conversion.ts'
import { decompressImage } from './decompression.ts'
import { injectMetadata } from './inject-metadata.ts'

/** One plugin at work on an image's staged data. */
export interface PluginRun {
  readonly environment: Environment
  readonly payload: ImportPayload
  /** Name of the staged data. */
  readonly staged: string
  readonly job: Job
  readonly call: Call
}

/** @returns the name of the data from now on; the same when the plugin made none. Each can be repeated. */
type Plugin = (run: PluginRun) => Promise<string>

const plugins: Readonly<Record<string, Plugin>> = {
  no_op: async ({ staged, call, payload }) => {
    call.log.info({ imageId: payload.imageId }, 'the no-op plugin has run')
    return staged
  },
  inject_image_metadata: injectMetadata,
  image_decompression: decompressImage,
  image_conversion: convertImage,
}

/**
 * Runs the configured plugins, in order; those that an earlier run has finished are passed over.
 * @returns the name of the staged data that goes to the stores
 */
export async function runPlugins(
  environment: Environment,
  payload: ImportPayload,
  job: Job,
  call: Call,
): Promise<string> {
  for (const name of environment.imports.plugins) {
    const state = stateOf(job)
    const plugin = plugins[name]
    if (plugin === undefined || state.done?.includes(name) === true) continue
    const staged = state.staged ?? payload.imageId
    const result = await plugin({ environment, payload, staged, job, call })
    await saveState(job, { staged: result, done: [...(stateOf(job).done ?? []), name] })
    if (result !== staged) await environment.staging.remove(staged)
  }
  return stateOf(job).staged ?? payload.imageId
}

import { defineJob } from '../../kernel/jobs/job-queue.ts'
import type { Environment } from '../environment.ts'
import { failImport } from './fail.ts'
import type { ImportMethod } from './request.ts'
import { runImport } from './run.ts'

/** What an import's job is told. Written down: no tokens in it. */
export type ImportPayload = {
  taskId: string
  imageId: string
  method: ImportMethod
  /** Ids of the stores that the data goes to, none of which has it already. */
  targets: readonly string[]
  mustSucceed: boolean
  /** Of who asked: metadata is injected according to them. */
  roles: readonly string[]
  /** Of a signed image: its certificate, base64, which the requester could read. */
  certificate?: string
  /** The image was made for this import, and goes away with its failure. */
  removeOnFailure?: boolean
}

/** The kind of the job that imports an image's data. */
export const importKind = { kind: 'image.import' } as const

/** Runs may die with their process this often before the import counts as failed. */
const maxRuns = 20

export function importJob(environment: Environment) {
  return defineJob<ImportPayload>({
    ...importKind,
    maxAttempts: maxRuns,
    run: (payload, job) => runImport(environment, payload, job),
    fail: (payload, error, job) => failImport(environment, payload, error, job),
  })
}

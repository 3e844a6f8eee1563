import type { AnyJobDefinition, Job, JobDefinition, Json } from '../../kernel/jobs/job-queue.ts'
import type { Block } from '../context.ts'
import { readSubject, type SubjectKind } from './subjects.ts'

interface Told {
  readonly kind: SubjectKind
  /** `volume.create`; `.start` and `.end` are added. */
  readonly event: string
  /** Told once, when it is done, under its bare name. */
  readonly isSingle?: true
}

/** What is told of jobs, by their kind. */
const told: Readonly<Record<string, Told>> = {
  'volume.create': { kind: 'volume', event: 'volume.create' },
  'volume.delete': { kind: 'volume', event: 'volume.delete' },
  'volume.extend': { kind: 'volume', event: 'volume.resize' },
  'volume.revert': { kind: 'volume', event: 'volume.revert' },
  'volume.manage': { kind: 'volume', event: 'volume.manage_existing' },
  'volume.unmanage': { kind: 'volume', event: 'volume.unmanage' },
  'volume.retype': { kind: 'volume', event: 'volume.retype', isSingle: true },
  'snapshot.create': { kind: 'snapshot', event: 'snapshot.create' },
  'snapshot.delete': { kind: 'snapshot', event: 'snapshot.delete' },
  'snapshot.manage': { kind: 'snapshot', event: 'snapshot.manage_existing' },
  'snapshot.unmanage': { kind: 'snapshot', event: 'snapshot.unmanage' },
  'group.create': { kind: 'group', event: 'group.create' },
}

type AnyPayload = { readonly [key: string]: Json | undefined }

/**
 * Jobs that tell when they begin and when they have done what they should. One that fails tells of no end; one that
 * is run again after a crash tells of no second start, and may tell of its end twice.
 */
export function notifyingJobs(
  block: Block,
  definitions: readonly AnyJobDefinition[],
): readonly AnyJobDefinition[] {
  return definitions.map((definition) => {
    const what = told[definition.kind]
    return what === undefined ? definition : notifying(block, definition as JobDefinition<AnyPayload>, what)
  }) as unknown as readonly AnyJobDefinition[] // each takes what the one that it wraps takes
}

function notifying(
  block: Block,
  definition: JobDefinition<AnyPayload>,
  { kind, event, isSingle }: Told,
): JobDefinition<AnyPayload> {
  const { notifications } = block
  return {
    ...definition,
    async run(payload: AnyPayload, job: Job) {
      const id = payload[`${kind}Id`]
      if (!notifications.tells(event) || typeof id !== 'string') return await definition.run(payload, job)
      const before = await readSubject(block, kind, id)
      if (before !== undefined && job.attempt === 1 && isSingle === undefined) {
        notifications.emit(`${event}.start`, before.publisherId, before.payload)
      }
      await definition.run(payload, job)
      const after = await readSubject(block, kind, id)
      if (before === undefined || after?.isFailed) return
      // what is gone is told of as it was last seen
      const { publisherId, payload: last } = after ?? {
        ...before,
        payload: { ...before.payload, status: 'deleted' },
      }
      notifications.emit(isSingle ? event : `${event}.end`, publisherId, last)
    },
  }
}

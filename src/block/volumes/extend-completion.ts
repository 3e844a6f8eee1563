import { GiB } from '../../kernel/bytes.ts'
import type { Block } from '../context.ts'
import { InvalidState } from '../errors.ts'
import { actions, details, writeMessage } from '../messages/queries.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { backendVolume } from './backend-facts.ts'
import { getVolume, transitionVolume } from './queries.ts'

/**
 * `os-extend_volume_completion`: whoever uses the volume has noticed its new size, or could not.
 * @throws NotFound, Forbidden; InvalidState unless an attached volume is being extended @see specification 4.1
 */
export async function completeExtend(
  block: Block,
  request: BlockRequest,
  id: string,
  failed: boolean,
): Promise<void> {
  const volume = await getVolume(block.db, request, id)
  const rule = 'volume_extension:volume_admin_actions:extend_volume_completion'
  authorize(request.identity, rule, volume.project_id)
  const sizeGib = volume.pending_size_gib
  if (volume.status !== 'extending' || sizeGib === null || volume.previous_status !== 'in-use') {
    throw new InvalidState(
      `Invalid volume: Volume ${id} is ${volume.status}: no extend of an attached volume waits for its completion.`,
    )
  }
  if (!failed) {
    const { driver } = await block.backends.ready(volume.host, request.signal)
    await driver.extend(await backendVolume(block.db, block.settings, volume), sizeGib * GiB, request)
  }
  const updated_at = block.now().toISOString()
  await block.db.transaction().execute(async (transaction) => {
    const done = await transitionVolume(transaction, id, ['extending'], {
      ...(failed ? { status: 'error_extending' } : { status: 'in-use', size_gib: sizeGib }),
      previous_status: null,
      pending_size_gib: null,
      updated_at,
    })
    if (done === undefined || !failed) return
    await writeMessage(block, transaction, {
      projectId: volume.project_id,
      requestId: request.requestId,
      resourceType: 'VOLUME',
      resourceId: id,
      action: actions.extendVolume,
      detail: details.computeFailedExtend,
    })
  })
}

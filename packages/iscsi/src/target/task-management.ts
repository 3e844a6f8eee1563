/** Task management functions: RFC 7143 section 11.5, SAM-5 chapter 7. */
import { NO_TAG } from '../pdu/header.ts'
import { TaskFunction, type TaskManagementRequest } from '../pdu/task-management-request.ts'
import { TaskResponse } from '../pdu/task-management-response.ts'
import { Conditions } from '../scsi/sense.ts'
import type { Session } from './session.ts'

/** Answers after everything that was aborted has left the devices: no write lands after the response. */
export async function runTaskManagement(
  session: Session,
  request: TaskManagementRequest,
  answer: (response: number) => void,
): Promise<void> {
  const { target } = session
  if (!target) return answer(TaskResponse.rejected)
  switch (request.function) {
    case TaskFunction.abortTask:
      return answer(await abortTask(session, request.referencedTaskTag))
    case TaskFunction.abortTaskSet:
      if (!target.unit(request.lun)) return answer(TaskResponse.lunDoesNotExist)
      await Promise.all(session.tasksOf(request.lun).map((tag) => session.abort(tag)))
      return answer(TaskResponse.complete)
    case TaskFunction.clearTaskSet: {
      const unit = target.unit(request.lun)
      if (!unit) return answer(TaskResponse.lunDoesNotExist)
      await target.abortTasks((each) => {
        const tags = each.tasksOf(request.lun)
        if (each !== session && tags.length > 0) {
          unit.raiseAttention(Conditions.commandsClearedByAnotherInitiator, { only: each.nexus.id })
        }
        return tags
      })
      return answer(TaskResponse.complete)
    }
    case TaskFunction.logicalUnitReset:
      return answer(
        (await target.resetUnit(request.lun)) ? TaskResponse.complete : TaskResponse.lunDoesNotExist,
      )
    case TaskFunction.targetWarmReset:
      await target.reset()
      return answer(TaskResponse.complete)
    case TaskFunction.targetColdReset:
      await target.reset()
      answer(TaskResponse.complete)
      await target.closeSessions('the target was reset')
      return
    default:
      return answer(TaskResponse.unsupported)
  }
}

async function abortTask(session: Session, tag: number): Promise<number> {
  if (tag === NO_TAG) return TaskResponse.rejected
  if (!session.tasksOf().includes(tag)) return TaskResponse.taskDoesNotExist
  await session.abort(tag)
  return TaskResponse.complete
}

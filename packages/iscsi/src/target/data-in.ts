/**
 * Data-In of read commands: RFC 7143 section 11.7. Bytes are read from the device straight into the place behind
 * their header. Bursts of a command follow each other as the connection takes them.
 */
import type { Cancel } from '../block-device.ts'
import { encodeDataIn } from '../pdu/data-in.ts'
import { NO_TAG } from '../pdu/header.ts'
import { ScsiStatus } from '../scsi/status.ts'
import type { PduWriter } from './pdu-writer.ts'
import { SLAB_BYTES, type Slab } from './sender.ts'
import type { Task } from './task.ts'

/** Bytes waiting for the socket above which reads wait, too. */
export const MAX_UNSENT_BYTES = 8 * 1048576

/** What the session does for its transfers. */
export interface TransferHost {
  readonly writer: PduWriter
  readonly cancel: Cancel
  /** Removes the task; what the last PDU then carries. */
  complete(task: Task): { statSn: number }
  numbers(): { expCmdSn: number; maxCmdSn: number }
  /** Ends the task with the status of an error. */
  fail(task: Task, error: unknown): void
  /** The task was aborted: nothing more is sent for it. */
  discard(task: Task): void
}

export class DataInSender {
  readonly #host: TransferHost
  readonly #segmentBytes: number
  readonly #burstBytes: number
  readonly #waiting: Task[] = []

  /** @param segmentBytes longest data segment the initiator takes @param burstBytes MaxBurstLength */
  constructor(host: TransferHost, segmentBytes: number, burstBytes: number) {
    this.#host = host
    this.#segmentBytes = Math.min(segmentBytes, burstBytes, 262144) & ~3
    const perSlab = Math.floor(SLAB_BYTES / (this.#segmentBytes + 64)) * this.#segmentBytes
    const burst = Math.min(burstBytes, perSlab)
    this.#burstBytes = Math.max(this.#segmentBytes, burst - (burst % this.#segmentBytes))
  }

  /** Sends `task.total` bytes, then GOOD. @param length what the command would have moved, for the residual */
  start(task: Task, length: number): void {
    task.wanted = length
    this.#continue(task)
  }

  /** The connection has taken what it had: go on. */
  drained(): void {
    for (const task of this.#waiting.splice(0)) this.#continue(task)
  }

  #continue(task: Task): void {
    while (task.sent < task.total) {
      if (task.aborted) {
        this.#host.discard(task)
        return
      }
      if (this.#host.writer.sender.unsentBytes > MAX_UNSENT_BYTES) {
        this.#waiting.push(task)
        return
      }
      const length = Math.min(this.#burstBytes, task.total - task.sent)
      let pending: Promise<boolean> | undefined
      try {
        pending = this.#burst(task, length)
      } catch (error) {
        this.#host.fail(task, error)
        return
      }
      if (pending) {
        void pending.then((sent) => {
          if (sent) this.#continue(task)
        })
        return
      }
    }
  }

  /** Resolves to false when the task has ended. Undefined: it is done and sent. */
  #burst(task: Task, length: number): Promise<boolean> | undefined {
    const { writer } = this.#host
    const segments = Math.ceil(length / this.#segmentBytes)
    const last = length - (segments - 1) * this.#segmentBytes
    const size = (segments - 1) * writer.size(this.#segmentBytes) + writer.size(last)
    const slab = writer.sender.reserve(size)
    const start = slab.used - size
    let pending: Promise<void>[] | undefined
    try {
      pending = this.#fill(task, slab, start, length)
    } catch (error) {
      writer.sender.drop(slab, size)
      throw error
    }
    if (!pending) {
      this.#send(task, slab, start, size, length)
      return undefined
    }
    task.begin()
    return Promise.allSettled(pending).then((results) => {
      task.end()
      const failed = results.find((result) => result.status === 'rejected')
      if (failed || task.aborted) {
        writer.sender.drop(slab, size)
        if (task.aborted) this.#host.discard(task)
        else this.#host.fail(task, failed?.reason)
        return false
      }
      this.#send(task, slab, start, size, length)
      return task.sent < task.total
    })
  }

  /** Puts the bytes of a burst behind the places of their headers. */
  #fill(task: Task, slab: Slab, start: number, length: number): Promise<void>[] | undefined {
    const { writer, cancel } = this.#host
    const { plan, unit } = task
    let pending: Promise<void>[] | undefined
    const stride = writer.size(this.#segmentBytes)
    for (let done = 0, at = start; done < length; done += this.#segmentBytes, at += stride) {
      const bytes = Math.min(this.#segmentBytes, length - done)
      const into = slab.bytes.subarray(at + writer.dataAt, at + writer.dataAt + bytes)
      if (task.inData) {
        task.inData.copy(into, 0, task.sent + done, task.sent + done + bytes)
        continue
      }
      if (plan.kind !== 'read' || !unit) continue
      const offset = plan.offset + task.sent + done
      const aligned = offset % unit.blockSize === 0 && bytes % unit.blockSize === 0
      const read = aligned ? unit.read(offset, into, cancel) : readUnaligned(task, offset, into, cancel)
      if (read) {
        pending ??= []
        pending.push(read)
        // Settled together later; without this a failure in between would count as unhandled.
        read.catch(() => {})
      }
    }
    return pending
  }

  #send(task: Task, slab: Slab, start: number, size: number, length: number): void {
    const { writer } = this.#host
    const first = task.sent
    task.sent += length
    const isLast = task.sent === task.total
    const status = isLast ? this.#host.complete(task) : undefined
    const { expCmdSn, maxCmdSn } = this.#host.numbers()
    const residual = task.wanted - task.expectedIn
    let at = start
    for (let done = 0; done < length; done += this.#segmentBytes) {
      const bytes = Math.min(this.#segmentBytes, length - done)
      const final = done + bytes === length
      const hasStatus = final && status !== undefined
      encodeDataIn(
        {
          final,
          hasStatus,
          status: ScsiStatus.good,
          initiatorTaskTag: task.initiatorTaskTag,
          targetTransferTag: NO_TAG,
          statSn: hasStatus ? status.statSn : 0,
          expCmdSn,
          maxCmdSn,
          dataSn: task.dataSn++,
          bufferOffset: first + done,
          overflow: hasStatus && residual > 0,
          underflow: hasStatus && residual < 0,
          residualCount: hasStatus ? Math.abs(residual) : 0,
          dataLength: bytes,
        },
        slab.bytes,
        at,
      )
      writer.seal(slab.bytes, at, bytes)
      at += writer.size(bytes)
    }
    writer.sender.send(slab, start, start + size)
  }
}

/** A piece that does not begin and end on blocks: an odd segment length, or an odd expected length. */
async function readUnaligned(task: Task, offset: number, into: Uint8Array, cancel: Cancel): Promise<void> {
  const unit = task.unit
  if (!unit) return
  const from = offset - (offset % unit.blockSize)
  const end = Math.ceil((offset + into.byteLength) / unit.blockSize) * unit.blockSize
  const whole = Buffer.allocUnsafe(end - from)
  await unit.read(from, whole, cancel)
  whole.copy(into, 0, offset - from)
}

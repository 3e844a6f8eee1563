import { setTimeout as pause } from 'node:timers/promises'
import { MiB } from '../kernel/bytes.ts'
import { BackendError } from '../kernel/errors.ts'
import { Cloud } from './cloud.ts'

/** What `GET /backups/{id}/progress` shows. */
interface Progress {
  readonly operation: string
  readonly percent: number
  readonly done_bytes: number
  readonly total_bytes: number
  /** ISO-8601, UTC without a zone. */
  readonly started_at: string
  readonly finished_at: string | null
  readonly error: string | null
}

const lookMs = 500
const barWidth = 30

/** `emberglass backup watch <id>`: a bar until what is being done with the backup has ended. */
export async function watchBackup(stateDirectory: string, id: string): Promise<void> {
  await follow(await Cloud.login(stateDirectory), id)
}

/** `emberglass backup verify <id>`: reads a backup back and checks every digest. @throws BackendError when it is damaged */
export async function verifyBackup(stateDirectory: string, id: string): Promise<void> {
  const cloud = await Cloud.login(stateDirectory)
  await cloud.block('POST', `/backups/${id}/action`, { 'emberglass-verify': null })
  await follow(cloud, id)
}

async function follow(cloud: Cloud, id: string): Promise<void> {
  const startedMs = performance.now()
  let firstBytes: number | undefined
  for (;;) {
    const { progress } = await cloud.block<{ progress: Progress | null }>('GET', `/backups/${id}/progress`)
    const { backup } = await cloud.block<{ backup: { status: string; fail_reason: string | null } }>(
      'GET',
      `/backups/${id}`,
    )
    if (backup.status === 'error') throw failed(id, backup.fail_reason ?? 'it failed')
    if (progress !== null) {
      firstBytes ??= progress.done_bytes
      const seconds = (performance.now() - startedMs) / 1000
      if (progress.finished_at === null) {
        show(progress, (progress.done_bytes - firstBytes) / Math.max(seconds, 0.001))
      } else showEnd(progress, progress.finished_at)
      if (progress.finished_at !== null) {
        process.stdout.write('\n')
        if (progress.error !== null) throw failed(id, progress.error)
        return
      }
    }
    await pause(lookMs)
  }
}

/** How long all of it took, whenever we began to look. */
function showEnd(progress: Progress, finishedAt: string): void {
  const seconds = (Date.parse(`${finishedAt}Z`) - Date.parse(`${progress.started_at}Z`)) / 1000
  const end = progress.error === null ? 'done in' : 'failed after'
  show(progress, progress.done_bytes / Math.max(seconds, 0.001), `${end} ${seconds.toFixed(1)} s`)
}

/** @param rate bytes a second @param end what stands in place of the time left */
function show(progress: Progress, rate: number, end?: string): void {
  const { operation, percent, done_bytes: doneBytes, total_bytes: totalBytes } = progress
  const full = Math.round((percent / 100) * barWidth)
  const bar = `${'█'.repeat(full)}${'░'.repeat(barWidth - full)}`
  const left = end ?? (rate > 0 ? `${Math.ceil((totalBytes - doneBytes) / rate)} s left` : 'waiting')
  const done = `${Math.round(doneBytes / MiB)} of ${Math.round(totalBytes / MiB)} MiB`
  const line = `${operation} ${bar} ${String(percent).padStart(3)} %  ${done}  ${(rate / MiB).toFixed(1)} MiB/s  ${left}`
  process.stdout.write(process.stdout.isTTY ? `\r${line}\x1b[K` : `${line}\n`)
}

function failed(id: string, reason: string): BackendError {
  return new BackendError(`Backup ${id}: ${reason}`, { left: 'unknown' })
}

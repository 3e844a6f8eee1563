import { execFile } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ThinStore } from '../packages/edf/src/node/store/thin-store.ts'
import type { ThinVolume } from '../packages/edf/src/node/store/thin-volume.ts'
import { median, megabytesPerSecond, type Row, timed } from './table.ts'

const run = promisify(execFile)
const CALL = { signal: new AbortController().signal }
const MIB = 1024 * 1024
const BLOCK = 4096
const QUEUE = 4
let state = 1

function random(below: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return Math.floor((state / 2 ** 32) * below)
}

/** Goes through the volume in pieces, several at a time. @returns MB/s */
async function sequential(volume: ThinVolume, how: 'read' | 'write', pieceBytes: number): Promise<number> {
  const bytes = volume.sizeBytes
  let next = 0
  const worker = async (): Promise<void> => {
    const buffer = new Uint8Array(pieceBytes).fill(7)
    while (next < bytes) {
      const offset = next
      next += pieceBytes
      const done = how === 'read' ? volume.read(offset, buffer, CALL) : volume.write(offset, buffer, CALL)
      if (done !== undefined) await done
    }
  }
  return megabytesPerSecond(bytes, await timed(() => Promise.all(Array.from({ length: QUEUE }, worker))))
}

/** @returns operations of 4 KiB per second, one at a time */
async function scattered(volume: ThinVolume, how: 'read' | 'write', count: number): Promise<number> {
  const buffer = new Uint8Array(BLOCK).fill(3)
  const ms = await timed(async () => {
    for (let at = 0; at < count; at++) {
      const offset = random(volume.sizeBytes / BLOCK) * BLOCK
      const done = how === 'read' ? volume.read(offset, buffer, CALL) : volume.write(offset, buffer, CALL)
      if (done !== undefined) await done
    }
  })
  return count / (ms / 1e3)
}

async function dd(bytes: number, ...operands: string[]): Promise<number> {
  return megabytesPerSecond(
    bytes,
    await timed(() => run('dd', ['bs=1M', `count=${bytes / MIB}`, 'status=none', ...operands])),
  )
}

function against(what: string, ours: number, peer: number): Row {
  return { what, ours: `${ours.toFixed(0)} MB/s`, peer: `dd ${peer.toFixed(0)} MB/s`, ratio: ours / peer }
}

async function throughput(volume: ThinVolume, directory: string): Promise<Row[]> {
  const bytes = volume.sizeBytes
  const file = join(directory, 'dd.raw')
  const durably = async (): Promise<number> => {
    const ms = await timed(async () => {
      await sequential(volume, 'write', MIB)
      await volume.flush(CALL)
    })
    return megabytesPerSecond(bytes, ms)
  }
  const ddDurably = await dd(bytes, 'if=/dev/zero', `of=${file}`, 'conv=fdatasync')
  const rows = [against('first write, 1 MiB, then flush', await durably(), ddDurably)]
  const ddOver = await dd(bytes, 'if=/dev/zero', `of=${file}`, 'conv=notrunc')
  rows.push(against('write again, 1 MiB', await sequential(volume, 'write', MIB), ddOver))
  rows.push(against('write again, 64 KiB', await sequential(volume, 'write', 64 * 1024), ddOver))
  const ddRead = await dd(bytes, `if=${file}`, 'of=/dev/null')
  rows.push(against('read, 1 MiB', await sequential(volume, 'read', MIB), ddRead))
  rows.push(against('read, 64 KiB', await sequential(volume, 'read', 64 * 1024), ddRead))
  await rm(file)
  return rows
}

async function chain(store: ThinStore, volume: ThinVolume): Promise<Row[]> {
  const rows: Row[] = []
  let taken = 0
  for (const snapshots of [1, 10, 100, 200]) {
    const times: number[] = []
    for (; taken < snapshots; taken++) {
      await scattered(volume, 'write', 100)
      await volume.flush(CALL)
      times.push(await timed(() => store.snapshot(volume.id, `snapshot-${taken}`)))
    }
    const clone = await timed(() => store.clone(`snapshot-${taken - 1}`, `clone-${taken}`))
    const figures = [
      `4K read ${(await scattered(volume, 'read', 50_000)).toFixed(0)}/s`,
      `4K write ${(await scattered(volume, 'write', 5_000)).toFixed(0)}/s`,
      `1 MiB read ${(await sequential(volume, 'read', MIB)).toFixed(0)} MB/s`,
      `snapshot ${median(times).toFixed(1)} ms`,
      `clone ${clone.toFixed(1)} ms`,
    ]
    rows.push({ what: `${snapshots} snapshots`, ours: figures.join(', ') })
  }
  return rows
}

async function management(store: ThinStore): Promise<Row[]> {
  const TIB = 1024 * 1024 * MIB
  const create = await timed(() => store.create('big', TIB))
  await using big = await store.open('big')
  await big.write(TIB - MIB, new Uint8Array(MIB), CALL)
  const snapshot = await timed(() => store.snapshot('big', 'big-snapshot'))
  const clone = await timed(() => store.clone('big-snapshot', 'big-clone'))
  const remove = await timed(async () => {
    for (const { id } of store.list()) if (id.startsWith('snapshot-')) await store.delete(id)
  })
  const settled = await timed(() => store.settled())
  return [
    { what: '1 TiB: create', ours: `${create.toFixed(1)} ms` },
    { what: '1 TiB with 1 MiB unflushed: snapshot', ours: `${snapshot.toFixed(1)} ms` },
    { what: '1 TiB: clone', ours: `${clone.toFixed(1)} ms` },
    { what: 'delete 200 snapshots', ours: `${remove.toFixed(0)} ms, merged after ${settled.toFixed(0)} ms` },
    { what: 'resident', ours: `${(process.memoryUsage.rss() / MIB).toFixed(0)} MiB` },
  ]
}

/**
 * What the EDF node's thin store reaches below the iSCSI target, beside `dd` on the same filesystem in the same run. Reads
 * come from the page cache; a first write is one into fresh holes.
 * @param directory that is there
 * @returns tables by their titles
 */
export async function benchThinStore(directory: string, mebibytes: number): Promise<[string, Row[]][]> {
  await using store = await ThinStore.open({ directory: join(directory, 'thin-store') })
  await store.create('volume', mebibytes * MIB)
  await using volume = await store.open('volume')
  return [
    ['Thin store: throughput', await throughput(volume, directory)],
    ['Thin store: chain of snapshots', await chain(store, volume)],
    ['Thin store: management', await management(store)],
  ]
}

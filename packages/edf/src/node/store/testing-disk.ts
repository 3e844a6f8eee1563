import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmdirSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

const MIB = 1024 * 1024

/** A filesystem in memory whose size a test changes. */
export interface SmallDisk {
  readonly path: string
  /** From now on nothing more fits in. */
  fill(): void
  /** There is room again. @param bytes how much it has in all; default 400 MiB */
  empty(bytes?: number): void
}

/** Mounts one; without the right to, the test is skipped, which it says. */
export function smallDisk(t: TestContext): SmallDisk | undefined {
  const path = mkdtempSync(join(tmpdir(), 'small-disk-'))
  const mount = (...options: string[]) => execFileSync('mount', [...options, path], { stdio: 'pipe' })
  try {
    mount('-t', 'tmpfs', '-o', `size=${400 * MIB}`, 'tmpfs')
  } catch (error) {
    rmdirSync(path)
    t.skip(`no filesystem can be mounted here: ${error instanceof Error ? error.message : error}`)
    return undefined
  }
  t.after(() => {
    execFileSync('umount', ['--lazy', path])
    rmdirSync(path)
  })
  const resize = (bytes: number) => mount('-o', `remount,size=${bytes}`)
  return {
    path,
    fill: () => {
      const { blocks, bfree, bsize } = statfsSync(path)
      resize((blocks - bfree) * bsize)
    },
    empty: (bytes = 400 * MIB) => resize(bytes),
  }
}

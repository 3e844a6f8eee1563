import { execFileSync } from 'node:child_process'
import { join } from 'node:path'

const script = join(import.meta.dirname, '..', 'servers', 'packages.sh')

/**
 * Makes sure that programs of Debian are there, installing them where that is possible (root, or sudo without a
 * password).
 * @param programs program name, or absolute path of a file, to the package it comes from
 * @returns why it was not possible, for a test's `skip`
 */
export function needPrograms(programs: Readonly<Record<string, string>>): string | undefined {
  const pairs = Object.entries(programs).map(([program, debianPackage]) => `${program}=${debianPackage}`)
  try {
    execFileSync(script, pairs, { stdio: ['ignore', 'ignore', 'pipe'], timeout: 300_000 })
    return undefined
  } catch (error) {
    const detail =
      error instanceof Error && 'stderr' in error ? String(error.stderr).trim().split('\n').at(-1) : error
    return `needs ${Object.values(programs).join(', ')} of Debian: ${detail}`
  }
}

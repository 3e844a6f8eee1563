import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Database } from '../database/database.ts'
import type { MediumRow } from '../database/rows.ts'
import { EdfNodeStartError, messageOf } from '../errors.ts'
import { type DataDirectory, Medium, readLabel } from '../replicas/medium.ts'
import { storedPath } from '../replicas/stored-path.ts'
import { readSetting } from '../resources/settings.ts'
import type { ThinStore } from '../store/thin-store.ts'
import { checkCopies } from './check-copies.ts'

/** What to check, and who wants to know how far it is. */
export interface NodeCheckOptions {
  /** The node's directory. */
  readonly directory: string
  /** Data directories that lie elsewhere than when the node ran last. */
  readonly dataDirectories?: readonly DataDirectory[]
  readonly onProgress?: (progress: NodeCheckProgress) => void
}

/** How far the check of one data directory is, in bytes of data. */
export interface NodeCheckProgress {
  readonly directory: string
  readonly doneBytes: number
  readonly totalBytes: number
}

/** What a check has found. */
export interface NodeCheckReport {
  /** Damage: data that cannot be read, or not from this copy. */
  readonly errors: readonly string[]
  /** What a start puts right by itself, and copies that are missing. */
  readonly warnings: readonly string[]
  readonly directories: number
  readonly volumes: number
  readonly snapshots: number
  /** Bytes of data that were compared with their checksums. */
  readonly bytesRead: number
  readonly damagedBlocks: number
}

/** Volumes and snapshots that a data directory has, and their sizes in bytes. */
export type Stock = ReadonlyMap<string, number>

/** Damaged blocks that are named one by one, for each directory. */
const NAMED_BLOCKS = 100

/**
 * Checks a node that does not run: its metadata, and in every data directory the catalog, all maps, and all data against
 * their checksums. As a start does, it first takes up what the journals of a killed node hold; it repairs nothing else.
 * @throws EdfNodeStartError `ENOENT` there is no node, `EDIRLOCKED` it runs, `EDIRDAMAGED` its metadata cannot be read
 */
export async function checkEdfNode(options: NodeCheckOptions): Promise<NodeCheckReport> {
  const file = join(options.directory, 'metadata.sqlite')
  if (!existsSync(file)) throw new EdfNodeStartError('ENOENT', `there is no EDF node in ${options.directory}`)
  const database = new Database(file)
  try {
    const findings = { errors: metadataProblems(database), warnings: [], bytesRead: 0, damagedBlocks: 0 }
    const stocks = new Map<string, Stock>()
    const media = mediaOf(database, options.dataDirectories ?? [])
    for (const medium of media) await checkMedium(database, medium, findings, stocks, options.onProgress)
    const counts = checkCopies(database, stocks, findings)
    return { ...findings, ...counts, directories: stocks.size }
  } finally {
    database.close()
  }
}

/** What is collected on the way. */
export interface Findings {
  readonly errors: string[]
  readonly warnings: string[]
  bytesRead: number
  damagedBlocks: number
}

function metadataProblems(database: Database): string[] {
  const problems = database
    .all<{ integrity_check: string }>('PRAGMA integrity_check')
    .map(({ integrity_check }) => integrity_check)
    .filter((line) => line !== 'ok')
  const references = database.all<{ table: string }>('PRAGMA foreign_key_check')
  return [
    ...problems.map((problem) => `metadata: ${problem}`),
    ...references.map(({ table }) => `metadata: a row of ${table} refers to nothing`),
  ]
}

/** The media that volumes have copies on. */
function mediaOf(database: Database, moved: readonly DataDirectory[]): Medium[] {
  const { systemUuid } = readSetting(database, 'identity', { systemUuid: '' })
  const movedTo = new Map(moved.map(({ path }) => [readLabel(join(path, 'medium.json')).id, path]))
  return database
    .all<MediumRow>('SELECT * FROM medium WHERE id IN (SELECT medium FROM copy) ORDER BY path')
    .map((row) => Medium.known({ ...row, path: movedTo.get(row.id) ?? row.path }, systemUuid))
}

async function checkMedium(
  database: Database,
  medium: Medium,
  findings: Findings,
  stocks: Map<string, Stock>,
  onProgress: NodeCheckOptions['onProgress'],
): Promise<void> {
  const { path } = medium
  try {
    const store = await medium.open()
    const { errors, warnings } = await store.check()
    findings.errors.push(...errors.map((error) => `${path}: ${error}`))
    findings.warnings.push(...warnings.map((warning) => `${path}: ${warning}`))
    stocks.set(medium.id, new Map(store.list().map(({ id, sizeBytes }) => [id, sizeBytes])))
    await compareData(database, path, store, findings, onProgress)
  } catch (error) {
    findings.errors.push(`${path} cannot be checked: ${messageOf(error)}`)
  } finally {
    await medium.close()
  }
}

async function compareData(
  database: Database,
  directory: string,
  store: ThinStore,
  findings: Findings,
  onProgress: NodeCheckOptions['onProgress'],
): Promise<void> {
  const totalBytes = store.usage().usedBytes
  let [doneBytes, damaged] = [0, 0]
  onProgress?.({ directory, doneBytes, totalBytes })
  for await (const { bytes, bad, problems } of store.scrub({ layer: 0, region: 0 })) {
    doneBytes += bytes
    for (const { id, offset } of bad) {
      damaged++
      if (damaged > NAMED_BLOCKS) continue
      const what = storedPath(database, id)?.path ?? id
      findings.errors.push(
        `${directory}: the block of 4096 bytes at byte ${offset} of ${what} does not have its checksum`,
      )
    }
    findings.errors.push(...problems.map((problem) => `${directory}: ${problem}`))
    onProgress?.({ directory, doneBytes, totalBytes })
  }
  if (damaged > NAMED_BLOCKS) findings.errors.push(`${directory}: ${damaged} blocks are damaged in all`)
  findings.bytesRead += doneBytes
  findings.damagedBlocks += damaged
}

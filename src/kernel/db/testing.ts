import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Pool } from 'pg'
import { type Database, openDatabase } from './database.ts'
import { type Migrations, migrate } from './migrate.ts'

/** What a test's database has to contain: each owner's migrations, `{ jobs: jobMigrations }`. */
export type Contents = Readonly<Record<string, Migrations>>

/** An empty place for one database, that several connections (also of child processes) can open by its URL. */
export interface DatabasePlace extends AsyncDisposable {
  readonly url: string
  open<Tables>(contents?: Contents): Promise<Database<Tables>>
}

/** A database engine as a test sees it. */
export interface TestEngine {
  readonly name: 'SQLite' | 'PostgreSQL'
  /** A new, empty, migrated database; disposing it removes it. In memory with SQLite. */
  open<Tables>(contents?: Contents): Promise<Database<Tables>>
  /** A new, empty place, to be opened more than once; disposing it removes it. A file with SQLite. */
  place(): Promise<DatabasePlace>
}

/**
 * Runs `body` once for each engine, so that each test exists for both. `EMBERGLASS_TEST_ENGINES=sqlite` (or
 * `postgres`) narrows the list; `EMBERGLASS_TEST_POSTGRES` names a server to use instead of the one that
 * `test/servers/postgres-up.sh` starts.
 *
 *     onEachEngine((engine) => {
 *       test(`a row comes back, on ${engine.name}`, async () => {
 *         await using database = await engine.open<Tables>({ things: thingMigrations })
 *       })
 *     })
 */
export function onEachEngine(body: (engine: TestEngine) => void): void {
  const { engines, obstacle } = testEngines()
  for (const engine of engines) body(engine)
  if (obstacle !== undefined) test('the same tests on PostgreSQL', { skip: obstacle }, () => {})
}

/** The engines to be had here, and why PostgreSQL is not among them. */
export function testEngines(): { engines: readonly TestEngine[]; obstacle?: string } {
  const wanted = process.env['EMBERGLASS_TEST_ENGINES'] ?? 'sqlite,postgres'
  const engines = wanted.includes('sqlite') ? [sqlite] : []
  if (!wanted.includes('postgres')) return { engines }
  const obstacle = whyNoPostgres()
  return obstacle === undefined ? { engines: [...engines, postgres] } : { engines, obstacle }
}

const sqlite: TestEngine = {
  name: 'SQLite',
  async open<Tables>(contents: Contents = {}) {
    return openWith<Tables>('sqlite://', contents)
  },
  async place() {
    const directory = await mkdtemp(join(tmpdir(), 'emberglass-db-'))
    const url = `sqlite:///${join(directory, 'test.db')}`
    return {
      url,
      open: (contents = {}) => openWith(url, contents),
      [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
    }
  },
}

const postgres: TestEngine = {
  name: 'PostgreSQL',
  async open<Tables>(contents: Contents = {}) {
    const place = await newPlace(await templateOf(contents))
    const database = await place.open<Tables>()
    return {
      ...database,
      async [Symbol.asyncDispose]() {
        await database[Symbol.asyncDispose]()
        await place[Symbol.asyncDispose]()
      },
    }
  },
  place: () => newPlace(),
}

/** A new database: empty, or a copy of the one named. */
async function newPlace(template = 'template1'): Promise<DatabasePlace> {
  const { serverUrl, pool } = await server()
  // A database, not a schema: notifications, which the job queue lives on, go to the whole database.
  const name = `test_${process.pid}_${randomBytes(6).toString('hex')}`
  await pool.query(`create database ${name} template ${template}`)
  const url = new URL(serverUrl)
  url.pathname = name
  return {
    url: url.href,
    open: (contents = {}) => openWith(url.href, contents),
    async [Symbol.asyncDispose]() {
      await pool.query(`drop database ${name} with (force)`)
    },
  }
}

/** Databases to copy, and what they contain: to migrate one takes longer than to copy it. */
const templates: { contents: Contents; name: Promise<string> }[] = []

/** @returns the name of a database with these contents that nobody is connected to */
function templateOf(contents: Contents): Promise<string> {
  const known = templates.find((template) => isSame(template.contents, contents))
  if (known !== undefined) return known.name
  const name = (async () => {
    const place = await newPlace()
    const database = await place.open(contents)
    await database[Symbol.asyncDispose]()
    process.once('beforeExit', () => void place[Symbol.asyncDispose]())
    return new URL(place.url).pathname.slice(1)
  })()
  templates.push({ contents, name })
  return name
}

/** The same migrations of the same owners, in the same order. */
function isSame(one: Contents, other: Contents): boolean {
  const [left, right] = [Object.entries(one), Object.entries(other)]
  return (
    left.length === right.length &&
    left.every(([owner, migrations], at) => owner === right[at]?.[0] && migrations === right[at]?.[1])
  )
}

async function openWith<Tables>(url: string, contents: Contents): Promise<Database<Tables>> {
  const database = await openDatabase<Tables>(url)
  for (const [owner, migrations] of Object.entries(contents)) {
    await migrate(database.kysely, owner, migrations)
  }
  return database
}

let starting: Promise<{ serverUrl: string; pool: Pool }> | undefined

function server(): Promise<{ serverUrl: string; pool: Pool }> {
  starting ??= (async () => {
    const serverUrl = process.env['EMBERGLASS_TEST_POSTGRES'] ?? (await startPostgres())
    const { default: pg } = await import('pg')
    return { serverUrl, pool: new pg.Pool({ connectionString: serverUrl, max: 2, allowExitOnIdle: true }) }
  })()
  return starting
}

/** Starts the shared test server, or finds it running. It is left running: other processes' tests use it too. */
async function startPostgres(): Promise<string> {
  const script = fileURLToPath(new URL('../../../test/servers/postgres-up.sh', import.meta.url))
  const stateDirectory = process.env['STATE_DIR'] ?? join(tmpdir(), 'emberglass-servers', 'postgres')
  await mkdir(stateDirectory, { recursive: true })
  // --close: the server must not inherit, and so keep, the lock
  const lock = ['--close', '--wait', '180', join(stateDirectory, 'up.lock')]
  const { stdout } = await promisify(execFile)('flock', [...lock, 'bash', script], {
    timeout: 300_000,
    env: { ...process.env, STATE_DIR: stateDirectory },
  })
  const url = /^DATABASE_URL=(.*)$/m.exec(stdout)?.[1]
  if (url === undefined) throw new Error(`postgres-up.sh printed no DATABASE_URL:\n${stdout}`)
  return url
}

/** The reason why PostgreSQL cannot be had here; undefined when it can. */
function whyNoPostgres(): string | undefined {
  if (process.env['EMBERGLASS_TEST_POSTGRES'] !== undefined) return undefined
  const root = '/usr/lib/postgresql'
  if (existsSync(root) && readdirSync(root).length > 0) return undefined
  if (process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) return undefined // the script installs it
  return 'PostgreSQL is not installed, and only root can install it (apt-get install postgresql)'
}

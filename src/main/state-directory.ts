import { randomBytes } from 'node:crypto'
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Misconfigured, messageOf } from '../kernel/errors.ts'
import { Secret } from '../kernel/secret.ts'

/** The passwords that the first start makes up. */
export interface GeneratedSecrets {
  /** Of the user `admin`, for `openrc` and `clouds.yaml`. */
  readonly adminPassword: Secret
  /** Of the service user that our services call each other as. */
  readonly servicePassword: Secret
  /** Of the array's own `admin`. */
  readonly edfPassword: Secret
}

/** Where one instance keeps everything; held by one process at a time. */
export interface StateDirectory extends Disposable {
  readonly path: string
  readonly secrets: GeneratedSecrets
  /** Tells this instance's initiator from those of others on the same array: 12 hexadecimal digits. */
  readonly instanceId: string
  /** Writes a file that only its owner can read, all of it or nothing. */
  writePrivate(name: string, text: string): Promise<void>
}

/**
 * Opens the directory, making it and its secrets at the first start.
 * @throws Misconfigured, one clear sentence, when it cannot be used or another process uses it
 */
export async function openStateDirectory(directory: string): Promise<StateDirectory> {
  const path = resolve(directory)
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
    await mkdir(join(path, 'log'), { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new Misconfigured(`The state directory ${path} cannot be used: ${messageOf(error)}`, {
      cause: error,
    })
  }
  const lock = takeLock(path)
  try {
    const writePrivate = (name: string, text: string) => writeWhole(path, name, text)
    const { secrets, instanceId } = await loadSecrets(path, writePrivate)
    return { path, secrets, instanceId, writePrivate, [Symbol.dispose]: () => lock.close() }
  } catch (error) {
    lock.close()
    if (error instanceof Misconfigured) throw error
    throw new Misconfigured(`The state directory ${path} cannot be used: ${messageOf(error)}`, {
      cause: error,
    })
  }
}

/** An exclusive lock of SQLite: the kernel takes it back however the process ends. */
function takeLock(path: string): DatabaseSync {
  const file = join(path, 'lock')
  let lock: DatabaseSync
  try {
    lock = new DatabaseSync(file, { timeout: 0 })
  } catch (error) {
    throw new Misconfigured(`The state directory ${path} cannot be used: ${messageOf(error)}`, {
      cause: error,
    })
  }
  try {
    lock.exec(
      'pragma locking_mode = exclusive; begin exclusive; create table if not exists held (by text); commit',
    )
    return lock
  } catch (error) {
    lock.close()
    const inUse = messageOf(error).includes('locked')
    throw new Misconfigured(
      inUse
        ? `Another instance is using the state directory ${path}: stop it, or give this one --state-dir and --port-base.`
        : `The state directory ${path} cannot be used: ${messageOf(error)}`,
      { cause: error },
    )
  }
}

async function writeWhole(directory: string, name: string, text: string): Promise<void> {
  const temporary = join(directory, `.${name}.new`)
  await using file = await open(temporary, 'w', 0o600)
  await file.writeFile(text)
  await file.datasync()
  await rename(temporary, join(directory, name))
}

async function loadSecrets(
  path: string,
  writePrivate: (name: string, text: string) => Promise<void>,
): Promise<{ secrets: GeneratedSecrets; instanceId: string }> {
  const names = ['adminPassword', 'servicePassword', 'edfPassword', 'instanceId'] as const
  const file = join(path, 'secrets.json')
  const known: Partial<Record<(typeof names)[number], string>> = await readJsonObject(file)
  const missing = names.filter((name) => typeof known[name] !== 'string')
  if (missing.length > 0) {
    for (const name of missing) {
      known[name] =
        name === 'instanceId' ? randomBytes(6).toString('hex') : randomBytes(18).toString('base64url')
    }
    await writePrivate('secrets.json', `${JSON.stringify(known, null, 2)}\n`)
  }
  const secrets = {
    adminPassword: new Secret(known.adminPassword ?? ''),
    servicePassword: new Secret(known.servicePassword ?? ''),
    edfPassword: new Secret(known.edfPassword ?? ''),
  }
  return { secrets, instanceId: known.instanceId ?? '' }
}

/** @returns an empty object when there is no such file @throws Misconfigured that tells nothing of its contents */
async function readJsonObject(file: string): Promise<object> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {}
    throw error
  }
  try {
    const parsed: unknown = JSON.parse(text)
    if (typeof parsed === 'object' && parsed !== null) return parsed
  } catch {
    // said below: the parser's own message quotes what it has read
  }
  throw new Misconfigured(`${file} is damaged: it holds no JSON object.`)
}

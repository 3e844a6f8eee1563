import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'
import { BackendError } from '../errors.ts'
import type { Secret } from '../secret.ts'

/** N = 2^14, r = 8, p = 1: 16 MiB and some 40 ms of one core. Hashes made with other parameters still verify. */
const cost = { logN: 14, blockSize: 8, parallelism: 1 }
const saltBytes = 16
const digestBytes = 32
/** Bounds what a hash read from the database can make us spend. */
const maxLogN = 20

/**
 * Hashes a password for keeping, off the main thread: `$scrypt$ln=14,r=8,p=1$<salt>$<digest>`, passlib's form,
 * which Keystone writes too (`[identity] password_hash_algorithm = scrypt`).
 * @throws BackendError, to be tried again, when too many passwords are being hashed or checked already
 */
export async function hashPassword(password: Secret): Promise<string> {
  const salt = randomBytes(saltBytes)
  const digest = await derive(password.reveal(), salt, digestBytes, cost)
  const { logN, blockSize, parallelism } = cost
  return `$scrypt$ln=${logN},r=${blockSize},p=${parallelism}$${base64(salt)}$${base64(digest)}`
}

/**
 * Is this the password that was hashed? Off the main thread, in constant time for a given hash.
 * A hash of an unknown form never verifies.
 */
export async function verifyPassword(password: Secret, hash: string): Promise<boolean> {
  const match = /^\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/.exec(hash)
  if (match === null) return false
  const [, logN, blockSize, parallelism, salt = '', expected = ''] = match
  if (Number(logN) > maxLogN || Number(blockSize) > 32 || Number(parallelism) > 16) return false
  const digest = Buffer.from(expected, 'base64')
  const parameters = { logN: Number(logN), blockSize: Number(blockSize), parallelism: Number(parallelism) }
  const derived = await derive(password.reveal(), Buffer.from(salt, 'base64'), digest.length, parameters)
  return timingSafeEqual(derived, digest)
}

/**
 * Spends as long as `verifyPassword` does. For a user who does not exist, so that the time an answer takes does
 * not tell who does.
 */
export async function pretendToVerifyPassword(password: Secret): Promise<void> {
  await derive(password.reveal(), randomBytes(saltBytes), digestBytes, cost)
}

/**
 * Derivations share libuv's four threads with all file access: two at once leave it the other two, whatever
 * number of people try passwords.
 */
const maxAtOnce = 2
/** Those that wait beyond this many are turned away. */
const maxWaiting = 200
let underWay = 0
const waiting: (() => void)[] = []

async function derive(
  password: string,
  salt: Buffer,
  length: number,
  parameters: { logN: number; blockSize: number; parallelism: number },
): Promise<Buffer> {
  if (underWay >= maxAtOnce) {
    if (waiting.length >= maxWaiting) {
      throw new BackendError('Too many passwords are being checked.', {
        left: 'nothing',
        retryAfterMs: 1_000,
      })
    }
    await new Promise<void>((resolve) => waiting.push(resolve)) // whoever finishes hands its place on
  } else {
    underWay++
  }
  try {
    return await deriveNow(password, salt, length, parameters)
  } finally {
    const next = waiting.shift()
    if (next === undefined) underWay--
    else next()
  }
}

function deriveNow(
  password: string,
  salt: Buffer,
  length: number,
  parameters: { logN: number; blockSize: number; parallelism: number },
): Promise<Buffer> {
  const N = 2 ** parameters.logN
  const options: ScryptOptions = {
    N,
    r: parameters.blockSize,
    p: parameters.parallelism,
    maxmem: 128 * parameters.blockSize * (N + parameters.parallelism) + 1_048_576,
  }
  return new Promise((resolve, reject) => {
    scrypt(password, salt, length, options, (error, key) => (error === null ? resolve(key) : reject(error)))
  })
}

/** Without padding, as passlib writes it. */
function base64(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '')
}

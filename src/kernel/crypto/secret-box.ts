import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { link, open, readFile, rm, stat } from 'node:fs/promises'
import { Misconfigured, messageOf } from '../errors.ts'
import { Secret } from '../secret.ts'

const keyBytes = 32
const nonceBytes = 12
const tagBytes = 16
const prefix = 'v1:'

/** Encrypts secrets that have to be had back, such as CHAP passwords, for columns of the database. */
export interface SecretBox {
  /**
   * @param place says what the value belongs to, for instance `attachments.auth_password:<id>`: the same has to
   *   be given to `decrypt`, so that a value copied to another row is not accepted there
   */
  encrypt(secret: Secret, place: string): string
  /** @throws Misconfigured when the key is another one, or the value was changed or moved */
  decrypt(encrypted: string, place: string): Secret
}

/**
 * Opens the box whose key is in a file, which is made (0600) when it is missing. Several processes may do so at
 * once: all get the same key.
 * @throws Misconfigured when the file is not a key, or others than its owner can read it
 */
export async function openSecretBox(keyFile: string): Promise<SecretBox> {
  return secretBox((await readKey(keyFile)) ?? (await createKey(keyFile)))
}

/** AES-256-GCM: a fresh nonce for each value, `place` authenticated. @param key 32 bytes */
export function secretBox(key: Buffer): SecretBox {
  return {
    encrypt(secret, place) {
      const nonce = randomBytes(nonceBytes)
      const cipher = createCipheriv('aes-256-gcm', key, nonce)
      cipher.setAAD(Buffer.from(place))
      const text = Buffer.concat([cipher.update(secret.reveal(), 'utf8'), cipher.final()])
      return prefix + Buffer.concat([nonce, cipher.getAuthTag(), text]).toString('base64')
    },
    decrypt(encrypted, place) {
      try {
        if (!encrypted.startsWith(prefix)) throw new Error('it does not begin with v1:')
        const bytes = Buffer.from(encrypted.slice(prefix.length), 'base64')
        const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, nonceBytes))
        decipher.setAAD(Buffer.from(place))
        decipher.setAuthTag(bytes.subarray(nonceBytes, nonceBytes + tagBytes))
        const text = Buffer.concat([decipher.update(bytes.subarray(nonceBytes + tagBytes)), decipher.final()])
        return new Secret(text.toString('utf8'))
      } catch (error) {
        throw new Misconfigured(
          `The secret kept for ${place} cannot be decrypted: is the key file the one it was encrypted with?`,
          { cause: error, details: { place } },
        )
      }
    },
  }
}

async function readKey(keyFile: string): Promise<Buffer | undefined> {
  let text: string
  try {
    const { mode } = await stat(keyFile)
    if ((mode & 0o077) !== 0) {
      throw new Misconfigured(`${keyFile} can be read by others than its owner: chmod 600 it.`)
    }
    text = await readFile(keyFile, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    if (error instanceof Misconfigured) throw error
    throw new Misconfigured(`The key file cannot be read: ${messageOf(error)}`, { cause: error })
  }
  const key = Buffer.from(text.trim(), 'base64')
  if (key.length !== keyBytes)
    throw new Misconfigured(`${keyFile} is not a key of ${keyBytes} bytes in base64.`)
  return key
}

/** Writes the whole file under another name first: a half-written key is never seen, not even after a crash. */
async function createKey(keyFile: string): Promise<Buffer> {
  const key = randomBytes(keyBytes)
  const temporary = `${keyFile}.${process.pid}.${randomBytes(4).toString('hex')}`
  const file = await open(temporary, 'wx', 0o600)
  try {
    await file.writeFile(`${key.toString('base64')}\n`)
    await file.sync()
    await link(temporary, keyFile)
    return key
  } catch (error) {
    // another process was faster: its key is the key
    const theirs =
      error instanceof Error && 'code' in error && error.code === 'EEXIST'
        ? await readKey(keyFile)
        : undefined
    if (theirs === undefined) throw error
    return theirs
  } finally {
    await file.close()
    await rm(temporary, { force: true })
  }
}

import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { type Bytes, MiB, regrouped } from '../../../kernel/bytes.ts'
import { Misconfigured, messageOf } from '../../../kernel/errors.ts'
import { type BlobContainer, DamagedBlob } from './blob-store.ts'

/**
 * An encrypted blob:
 *
 *     0   8  "EMGLASS1"
 *     8   8  first bytes of the key's SHA-256: tells which key is meant
 *    16  16  salt: HKDF-SHA-256 of key, salt and the blob's name is the key of this blob alone
 *    32   …  frames of 1 MiB of plain text and a 16-byte tag, the last one shorter, AES-256-GCM each; the nonce is
 *            the frame's number, 11 bytes, and one byte that is 1 for the last frame, so that none can be missing,
 *            moved or taken from another blob
 */
const magic = Buffer.from('EMGLASS1')
const keyBytes = 32
const keyIdBytes = 8
const saltBytes = 16
const headBytes = magic.byteLength + keyIdBytes + saltBytes
const tagBytes = 16
const frameBytes = MiB
const algorithm = 'aes-256-gcm'

export interface EncryptionKey {
  readonly bytes: Buffer
  readonly id: Buffer
}

/** Reads a key file: 32 bytes, or 64 hexadecimal digits. @throws Misconfigured */
export async function readEncryptionKey(path: string): Promise<EncryptionKey> {
  let content: Buffer
  try {
    content = await readFile(path)
  } catch (cause) {
    throw new Misconfigured(`backup_encryption_key_file: ${path} cannot be read: ${messageOf(cause)}.`, {
      cause,
    })
  }
  const text = content.byteLength === keyBytes ? '' : content.toString('latin1').trim()
  const bytes = content.byteLength === keyBytes ? content : Buffer.from(text, 'hex')
  if (bytes.byteLength !== keyBytes) {
    throw new Misconfigured(
      `backup_encryption_key_file: ${path} must hold 32 bytes, or 64 hexadecimal digits: openssl rand -hex 32.`,
    )
  }
  return { bytes, id: createHash('sha256').update(bytes).digest().subarray(0, keyIdBytes) }
}

/** The same blobs, encrypted on their way in and decrypted on their way out. */
export function encryptedBlobs(container: BlobContainer, key: EncryptionKey): BlobContainer {
  return {
    put: (name, data, call) => container.put(name, encrypted(data, name, key), call),
    get: (name, call) => decrypted(container.get(name, call), name, key),
    list: (call) => container.list(call),
    [Symbol.asyncDispose]: () => container[Symbol.asyncDispose](),
  }
}

function keyOfBlob(key: EncryptionKey, salt: Uint8Array, name: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key.bytes, salt, `emberglass backup ${name}`, keyBytes))
}

function nonceOf(frame: number, last: boolean): Buffer {
  const nonce = Buffer.alloc(12)
  nonce.writeUIntBE(frame, 5, 6)
  nonce.writeUInt8(last ? 1 : 0, 11)
  return nonce
}

async function* encrypted(data: Bytes, name: string, key: EncryptionKey): Bytes {
  const salt = randomBytes(saltBytes)
  const own = keyOfBlob(key, salt, name)
  yield Buffer.concat([magic, key.id, salt])
  const seal = (frame: number, plain: Uint8Array, last: boolean) => {
    const cipher = createCipheriv(algorithm, own, nonceOf(frame, last))
    return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()])
  }
  let frame = 0
  let waiting: Uint8Array | undefined
  for await (const plain of regrouped(data, frameBytes)) {
    if (waiting !== undefined) yield seal(frame++, waiting, false)
    waiting = plain
  }
  yield seal(frame, waiting ?? new Uint8Array(0), true)
}

async function* decrypted(data: Bytes, name: string, key: EncryptionKey): Bytes {
  let own: Buffer | undefined
  let frame = 0
  let waiting: Uint8Array | undefined
  const unseal = (sealed: Uint8Array, last: boolean): Buffer => {
    if (own === undefined || sealed.byteLength < tagBytes) throw new DamagedBlob('it ends too early')
    const decipher = createDecipheriv(algorithm, own, nonceOf(frame++, last), { authTagLength: tagBytes })
    decipher.setAuthTag(sealed.subarray(-tagBytes))
    try {
      return Buffer.concat([decipher.update(sealed.subarray(0, -tagBytes)), decipher.final()])
    } catch (cause) {
      throw new DamagedBlob('it cannot be decrypted', { cause })
    }
  }
  for await (const part of afterHead(data, (head) => {
    own = keyOfBlob(key, checkedSalt(head, key), name)
  })) {
    if (waiting !== undefined) yield unseal(waiting, false)
    waiting = part
  }
  yield unseal(waiting ?? new Uint8Array(0), true)
}

/** What follows the head, in whole frames. */
async function* afterHead(data: Bytes, onHead: (head: Buffer) => void): Bytes {
  let head = Buffer.alloc(0)
  let known = false
  async function* rest(): Bytes {
    for await (const part of data) {
      if (known) {
        yield part
        continue
      }
      head = Buffer.concat([head, part])
      if (head.byteLength < headBytes) continue
      known = true
      onHead(head.subarray(0, headBytes))
      yield head.subarray(headBytes)
    }
  }
  yield* regrouped(rest(), frameBytes + tagBytes)
}

function checkedSalt(head: Buffer, key: EncryptionKey): Buffer {
  if (!head.subarray(0, magic.byteLength).equals(magic)) throw new DamagedBlob('it is not encrypted by us')
  const id = head.subarray(magic.byteLength, magic.byteLength + keyIdBytes)
  if (!id.equals(key.id)) {
    throw new Misconfigured(
      `The backup was encrypted with another key (${id.toString('hex')}…) than that of backup_encryption_key_file (${key.id.toString('hex')}…).`,
    )
  }
  return head.subarray(magic.byteLength + keyIdBytes)
}

import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errorCode } from './errors.ts'

/** PEM texts. */
export interface Certificate {
  readonly key: string
  readonly cert: string
}

/** The directory's certificate; at first start one is made and kept, its key with mode 0600. */
export async function loadCertificate(directory: string, names: readonly string[]): Promise<Certificate> {
  const keyFile = join(directory, 'tls.key')
  const certFile = join(directory, 'tls.crt')
  try {
    return { key: await readFile(keyFile, 'utf8'), cert: await readFile(certFile, 'utf8') }
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
  }
  const made = selfSigned(names, new Date())
  // The certificate comes last: with it, both are there.
  await writeWhole(keyFile, made.key, 0o600)
  await writeWhole(certFile, made.cert, 0o644)
  return made
}

async function writeWhole(file: string, text: string, mode: number): Promise<void> {
  await writeFile(`${file}.new`, text, { mode, flush: true })
  await rename(`${file}.new`, file)
}

const dayMs = 86_400_000

/**
 * A self-signed certificate for ten years, P-256 with SHA-256: X.509 version 3 in DER (RFC 5280, section 4.1), which
 * Node reads but cannot write.
 * @param names host names and IPv4 addresses for subjectAltName
 */
export function selfSigned(names: readonly string[], now: Date): Certificate {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const publicInfo = publicKey.export({ type: 'spki', format: 'der' })
  const algorithm = sequence(oid('1.2.840.10045.4.3.2'))
  const subject = sequence(setOf(sequence(oid('2.5.4.3'), tagged(0x0c, Buffer.from('EDF node')))))
  const serial = randomBytes(16)
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40
  const keyId = createHash('sha1').update(publicInfo).digest()
  const body = sequence(
    tagged(0xa0, integer(Buffer.from([2]))),
    integer(serial),
    algorithm,
    subject,
    sequence(time(new Date(now.getTime() - dayMs)), time(new Date(now.getTime() + 3650 * dayMs))),
    subject,
    publicInfo,
    tagged(
      0xa3,
      sequence(
        extension('2.5.29.17', sequence(...names.map(generalName))),
        extension('2.5.29.19', sequence(tagged(0x01, Buffer.from([0xff]))), true),
        extension('2.5.29.14', tagged(0x04, keyId)),
      ),
    ),
  )
  const signature = sign('sha256', body, privateKey)
  const der = sequence(body, algorithm, tagged(0x03, Buffer.concat([Buffer.from([0]), signature])))
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return {
    key: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    cert: `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`,
  }
}

function tagged(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const length = content.byteLength
  const header =
    length < 0x80
      ? [tag, length]
      : length < 0x100
        ? [tag, 0x81, length]
        : [tag, 0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from(header), content])
}

const sequence = (...parts: readonly Buffer[]) => tagged(0x30, ...parts)
const setOf = (...parts: readonly Buffer[]) => tagged(0x31, ...parts)
/** Big-endian bytes whose first bit is 0. */
const integer = (bytes: Buffer) => tagged(0x02, bytes)

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  const bytes = [first * 40 + second]
  for (const arc of rest) {
    const groups = [arc & 0x7f]
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) {
      groups.unshift((left & 0x7f) | 0x80)
    }
    bytes.push(...groups)
  }
  return tagged(0x06, Buffer.from(bytes))
}

/** UTCTime until 2049, GeneralizedTime from 2050. */
function time(date: Date): Buffer {
  const digits = date.toISOString().replace(/[-:T]|\.\d+/g, '')
  return date.getUTCFullYear() < 2050
    ? tagged(0x17, Buffer.from(digits.slice(2)))
    : tagged(0x18, Buffer.from(digits))
}

function extension(id: string, value: Buffer, critical = false): Buffer {
  const flag = critical ? [tagged(0x01, Buffer.from([0xff]))] : []
  return sequence(oid(id), ...flag, tagged(0x04, value))
}

function generalName(name: string): Buffer {
  const isAddress = /^\d{1,3}(\.\d{1,3}){3}$/.test(name)
  return isAddress ? tagged(0x87, Buffer.from(name.split('.').map(Number))) : tagged(0x82, Buffer.from(name))
}

import { constants, createVerify, type KeyObject, X509Certificate } from 'node:crypto'
import { Invalid, messageOf } from '../../kernel/errors.ts'

/** The four properties of a signed image. An image that lacks one of them counts as unsigned. */
const names = {
  signature: 'img_signature',
  hashMethod: 'img_signature_hash_method',
  keyType: 'img_signature_key_type',
  certificateId: 'img_signature_certificate_uuid',
} as const

export interface SignatureFacts {
  readonly signature: Buffer
  readonly hash: string
  readonly keyType: string
  readonly certificateId: string
}

const hashes: Readonly<Record<string, string>> = {
  'SHA-224': 'sha224',
  'SHA-256': 'sha256',
  'SHA-384': 'sha384',
  'SHA-512': 'sha512',
}
/** OpenSSL's names of the curves that upstream accepts. */
const curves: Readonly<Record<string, string>> = {
  ECC_SECT571K1: 'sect571k1',
  ECC_SECT409K1: 'sect409k1',
  ECC_SECT571R1: 'sect571r1',
  ECC_SECT409R1: 'sect409r1',
  ECC_SECP521R1: 'secp521r1',
  ECC_SECP384R1: 'secp384r1',
}

/**
 * What an image's properties say of its signature.
 * @returns undefined for an unsigned image
 * @throws Invalid for a method, a type of key or a signature that cannot be
 * @see image-api specification 3.7
 */
export function signatureOf(properties: Readonly<Record<string, string>>): SignatureFacts | undefined {
  const signature = properties[names.signature]
  const method = properties[names.hashMethod]
  const keyType = properties[names.keyType]
  const certificateId = properties[names.certificateId]
  if (
    signature === undefined ||
    method === undefined ||
    keyType === undefined ||
    certificateId === undefined
  ) {
    return undefined
  }
  const hash = hashes[method]
  if (hash === undefined) throw unusable(`Invalid signature hash method: ${method}`)
  if (keyType !== 'RSA-PSS' && keyType !== 'DSA' && !(keyType in curves)) {
    throw unusable(`Invalid signature key type: ${keyType}`)
  }
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(signature)) throw unusable('The signature data was not properly encoded')
  return { signature: Buffer.from(signature, 'base64'), hash, keyType, certificateId }
}

/** Verifies an image's signature while its data passes. */
export class SignatureVerifier {
  readonly #facts: SignatureFacts
  readonly #key: KeyObject
  readonly #verify: ReturnType<typeof createVerify>

  /**
   * @param certificate X.509, DER or PEM
   * @throws Invalid when it is no certificate, or its key is of another type than the image says
   */
  constructor(facts: SignatureFacts, certificate: Uint8Array) {
    this.#facts = facts
    try {
      this.#key = new X509Certificate(certificate).publicKey
    } catch (error) {
      throw unusable(`The certificate could not be read: ${messageOf(error)}`)
    }
    const { asymmetricKeyType, asymmetricKeyDetails } = this.#key
    const fits =
      facts.keyType === 'RSA-PSS'
        ? asymmetricKeyType === 'rsa' || asymmetricKeyType === 'rsa-pss'
        : facts.keyType === 'DSA'
          ? asymmetricKeyType === 'dsa'
          : asymmetricKeyType === 'ec' && asymmetricKeyDetails?.namedCurve === curves[facts.keyType]
    if (!fits) throw unusable(`Invalid public key type for signature key type: ${facts.keyType}`)
    this.#verify = createVerify(facts.hash)
  }

  push(chunk: Uint8Array): void {
    this.#verify.update(chunk)
  }

  /** Call it once, after the last byte. @throws Invalid when the data is not what was signed */
  finish(): void {
    const { signature, keyType } = this.#facts
    const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO }
    const isRight = this.#verify.verify({ key: this.#key, ...(keyType === 'RSA-PSS' ? pss : {}) }, signature)
    if (!isRight) throw unusable('Signature verification failed')
  }
}

function unusable(why: string): Invalid {
  return new Invalid(`Signature verification for the image failed: ${why}.`)
}

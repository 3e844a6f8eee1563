import { request as httpRequest } from 'undici'
import type { Config } from '../../kernel/config/config.ts'
import { optionalText } from '../../kernel/config/options.ts'
import { BackendError, Invalid, messageOf, StorageError } from '../../kernel/errors.ts'

const barbicanOptions = {
  endpoint: optionalText('barbican_endpoint', {
    help: 'Where the key manager is, which has the certificates of signed images: http://host:9311.',
  }),
}

/** How long the key manager may take, in milliseconds. */
const patienceMs = 30_000
/** A certificate is a few KiB; this much is no certificate. Bytes. */
const maxBytes = 64 * 1024

/** Where certificates of signed images, and keys of encrypted ones, are kept: Barbican. */
export class KeyManager {
  readonly #endpoint: string | undefined

  constructor(config: Config) {
    const { endpoint } = config.read('barbican', barbicanOptions)
    this.#endpoint = endpoint?.replace(/\/+$/, '').replace(/\/v1$/, '')
  }

  /**
   * @param token the requester's: who may not read a certificate cannot use it
   * @throws Invalid when there is no such certificate; BackendError when the key manager does not answer
   */
  async certificate(id: string, token: string, signal: AbortSignal): Promise<Uint8Array> {
    if (!/^[0-9a-f-]{32,36}$/i.test(id)) throw missing(id)
    const { statusCode, body } = await this.#ask('GET', `${id}/payload`, token, signal)
    if (statusCode !== 200) {
      await body.dump()
      if (statusCode === 404 || statusCode === 403) throw missing(id)
      throw broken(`it answers ${statusCode}`)
    }
    const chunks: Uint8Array[] = []
    let length = 0
    for await (const chunk of body) {
      length += chunk.byteLength
      if (length > maxBytes) throw missing(id)
      chunks.push(chunk)
    }
    return Buffer.concat(chunks)
  }

  /** Deletes the key of an encrypted volume's image. @throws BackendError when it is not gone then */
  async deleteKey(id: string, token: string, signal: AbortSignal): Promise<void> {
    const { statusCode, body } = await this.#ask('DELETE', id, token, signal)
    await body.dump()
    if (statusCode !== 204 && statusCode !== 404) throw broken(`it answers ${statusCode}`)
  }

  async #ask(method: 'GET' | 'DELETE', path: string, token: string, signal: AbortSignal) {
    if (this.#endpoint === undefined) {
      throw new Invalid('Signature verification for the image failed: no key manager is configured.')
    }
    try {
      return await httpRequest(`${this.#endpoint}/v1/secrets/${path}`, {
        method,
        headers: { 'x-auth-token': token, accept: 'application/octet-stream' },
        signal: AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]),
      })
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof StorageError) throw error
      throw broken(messageOf(error), error)
    }
  }
}

function missing(id: string): Invalid {
  return new Invalid(
    `Signature verification for the image failed: Unable to retrieve certificate with ID: ${id}.`,
  )
}

function broken(why: string, cause?: unknown): BackendError {
  return new BackendError(`The key manager cannot be asked: ${why}.`, {
    left: 'nothing',
    retryAfterMs: 5_000,
    cause,
  })
}

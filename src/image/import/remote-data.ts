import { Agent, request } from 'undici'
import type { Bytes } from '../../kernel/bytes.ts'
import type { Call } from '../../kernel/call.ts'
import { BackendError, messageOf, StorageError } from '../../kernel/errors.ts'
import { type CheckedUrl, checkAddress, withoutSecrets } from './address-filter.ts'
import type { FilterSettings } from './options.ts'

const maxRedirects = 5
/** How long the other side may say nothing, in milliseconds. */
const silenceMs = 60_000
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

/** Data that comes from elsewhere. */
export interface RemoteData {
  readonly bytes: Bytes
  /** What the other side announced, in bytes. */
  readonly sizeBytes: number | undefined
}

/**
 * Fetches from an address that a user named. Each hop passes the filter, and only addresses that were checked
 * are connected to: neither a redirect nor a second look at DNS leads anywhere else.
 * @throws Invalid when an address does not pass filtering; BackendError when the other side does not serve it
 * @see image-api specification 4.8, 7.6
 */
export async function openRemote(uri: string, filter: FilterSettings, call: Call): Promise<RemoteData> {
  let next = uri
  for (let hop = 0; hop <= maxRedirects; hop += 1) {
    const checked = await checkAddress(next, filter)
    if (checked.addresses.length === 0) throw failed(next, 'there is no such host')
    const answer = await get(checked, call)
    if ('data' in answer) return answer.data
    next = new URL(answer.location, checked.url).href
  }
  throw failed(uri, `it redirects more than ${maxRedirects} times`)
}

async function get(
  { url, addresses }: CheckedUrl,
  call: Call,
): Promise<{ readonly data: RemoteData } | { readonly location: string }> {
  const agent = new Agent({
    headersTimeout: silenceMs,
    bodyTimeout: silenceMs,
    connect: {
      timeout: silenceMs,
      lookup: (_host, options, done) => {
        const [first] = addresses
        if (options.all === true) done(null, [...addresses])
        else done(null, first?.address ?? '', first?.family)
      },
    },
  })
  try {
    const { username, password } = url
    const target = new URL(url)
    target.username = ''
    target.password = ''
    const login = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`)
    const { statusCode, headers, body } = await request(target, {
      dispatcher: agent,
      signal: call.signal,
      headers: {
        'accept-encoding': 'identity',
        ...(username === '' ? {} : { authorization: `Basic ${login.toString('base64')}` }),
      },
    })
    const location = headers['location']
    if (redirects.has(statusCode) && typeof location === 'string') {
      await body.dump()
      await agent.close()
      return { location }
    }
    if (statusCode !== 200) {
      await body.dump()
      throw failed(url.href, `it answers ${statusCode}`)
    }
    const length = headers['content-length']
    const sizeBytes = typeof length === 'string' && /^\d+$/.test(length) ? Number(length) : undefined
    return { data: { bytes: bytesOf(body, agent, url.href, call), sizeBytes } }
  } catch (error) {
    await agent.destroy()
    call.signal.throwIfAborted()
    if (error instanceof StorageError) throw error
    throw failed(url.href, messageOf(error), error)
  }
}

async function* bytesOf(body: AsyncIterable<Uint8Array>, agent: Agent, uri: string, call: Call): Bytes {
  try {
    yield* body
  } catch (error) {
    call.signal.throwIfAborted()
    throw failed(uri, messageOf(error), error)
  } finally {
    await agent.destroy()
  }
}

function failed(uri: string, why: string, cause?: unknown): BackendError {
  return new BackendError(`The data at ${withoutSecrets(uri)} cannot be fetched: ${why}.`, {
    left: 'nothing',
    cause,
  })
}

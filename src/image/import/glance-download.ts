import { request as httpRequest } from 'undici'
import type { Bytes } from '../../kernel/bytes.ts'
import type { Call } from '../../kernel/call.ts'
import {
  BackendError,
  Conflict,
  messageOf,
  NotFound,
  StorageError,
  Unsupported,
} from '../../kernel/errors.ts'
import type { Job } from '../../kernel/jobs/job-queue.ts'
import type { Environment } from '../environment.ts'
import { requireRow } from '../images/queries.ts'
import { writeProperty } from './bookkeeping.ts'
import type { ImportPayload } from './job.ts'
import type { RemoteData } from './remote-data.ts'
import type { ImportMethod } from './request.ts'
import { type RemoteFacts, rememberBefore, saveState } from './state.ts'

type Source = Extract<ImportMethod, { name: 'glance-download' }>

const silenceMs = 60_000

/**
 * Opens an image of another region's Image service, with the requester's token, and writes down what is to be
 * copied of its record.
 * @throws BackendError, NotFound, Conflict when it is not to be had
 * @see image-api specification 4.4, step 2
 */
export async function fetchRemoteImage(
  environment: Environment,
  payload: ImportPayload,
  source: Source,
  job: Job,
  call: Call,
): Promise<RemoteData> {
  const { imageEndpoint } = environment
  if (imageEndpoint === undefined) throw new Unsupported('This service knows no catalog of other regions.')
  const token = environment.running.requesterOf(payload.taskId)?.token.reveal()
  if (token === undefined) {
    throw new Conflict("The service was restarted, and does not have the requester's token any more.")
  }
  const where = { region: source.region, interface: source.interface }
  const endpoint = (await imageEndpoint(where, token, call.signal)).replace(/\/v2$/, '')
  const url = `${endpoint}/v2/images/${source.imageId}`
  const image = await readRecord(url, token, call)
  if (image['status'] !== 'active') {
    throw new Conflict(`The remote image is ${String(image['status'])}; only active images can be copied.`)
  }
  await saveState(job, { remote: factsOf(image, environment.imports.download.extraProperties) })
  const { headers, body } = await ask(`${url}/file`, token, call)
  const length = headers['content-length']
  const algorithm = image['os_hash_algo']
  const value = image['os_hash_value']
  const bytes =
    typeof algorithm === 'string' && typeof value === 'string'
      ? verified(environment, body, algorithm, value)
      : body
  return { bytes, sizeBytes: typeof length === 'string' ? Number(length) : undefined }
}

async function readRecord(
  url: string,
  token: string,
  call: Call,
): Promise<Readonly<Record<string, unknown>>> {
  const { body } = await ask(url, token, call)
  const record: unknown = await body.json()
  if (typeof record !== 'object' || record === null) throw broken(url, 'it answers no image')
  return Object.fromEntries(Object.entries(record))
}

async function ask(url: string, token: string, call: Call) {
  try {
    const response = await httpRequest(url, {
      headers: { 'x-auth-token': token, accept: 'application/json, application/octet-stream' },
      signal: call.signal,
      headersTimeout: silenceMs,
      bodyTimeout: silenceMs,
    })
    if (response.statusCode === 200) return response
    await response.body.dump()
    if (response.statusCode === 404) throw new NotFound('The remote Image service has no such image.')
    throw broken(url, `it answers ${response.statusCode}`)
  } catch (error) {
    call.signal.throwIfAborted()
    if (error instanceof StorageError) throw error
    throw broken(url, messageOf(error), error)
  }
}

function broken(url: string, why: string, cause?: unknown): BackendError {
  const { origin } = new URL(url)
  return new BackendError(`The Image service at ${origin} cannot be asked: ${why}.`, {
    left: 'nothing',
    cause,
  })
}

function factsOf(image: Readonly<Record<string, unknown>>, prefixes: readonly string[]): RemoteFacts {
  const copied = Object.entries(image).filter(
    ([name, value]) =>
      typeof value === 'string' &&
      !name.startsWith('os_glance') &&
      prefixes.some((prefix) => name.startsWith(prefix)),
  )
  return {
    containerFormat: String(image['container_format']),
    diskFormat: String(image['disk_format']),
    properties: Object.fromEntries(copied.map(([name, value]) => [name, String(value)])),
  }
}

/** @throws Conflict after the last byte, when the data is not what the other service says it is */
async function* verified(environment: Environment, source: Bytes, algorithm: string, value: string): Bytes {
  using digests = environment.digests.begin([algorithm])
  for await (const chunk of source) {
    const waiting = digests.push(chunk)
    if (waiting !== undefined) await waiting
    yield chunk
  }
  const [computed] = await digests.finish()
  if (computed !== value) throw new Conflict('The data of the remote image does not have the hash it should.')
}

/** Gives the image what was copied of the remote record. Can be repeated. */
export async function applyRemoteFacts(
  environment: Environment,
  job: Job,
  imageId: string,
  facts: RemoteFacts,
): Promise<void> {
  await rememberBefore(environment, job, imageId)
  await environment.db.transaction().execute(async (transaction) => {
    await requireRow(transaction, imageId, { lock: true })
    await transaction
      .updateTable('images')
      .set({ container_format: facts.containerFormat, disk_format: facts.diskFormat })
      .where('id', '=', imageId)
      .where('status', '=', 'importing')
      .execute()
    for (const [name, value] of Object.entries(facts.properties)) {
      await writeProperty(transaction, imageId, name, value)
    }
  })
}

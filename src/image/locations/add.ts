import { Conflict, Forbidden, Invalid } from '../../kernel/errors.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import { findAllowed } from '../images/access.ts'
import { withoutSecrets } from '../import/address-filter.ts'
import { acquireImportLock } from '../import/lock.ts'
import { insertTask } from '../tasks/queries.ts'
import { digestDigits, storeOfUrl, type ValidationData } from './check.ts'
import { type LocationPayload, locationKind } from './job.ts'

const algorithms = ['sha1', 'sha256', 'sha512', 'md5']

/**
 * Accepts data by its location: a task adds it, and reads it to know its hash where the configuration says so.
 * @throws Conflict unless the image is queued; Forbidden, Invalid
 * @see image-api specification 2.6, the 2.17 calls
 */
export async function acceptLocation(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
  body: Readonly<Record<string, unknown>>,
): Promise<void> {
  const url = body['url']
  if (typeof url !== 'string' || url.length > 255) throw new Invalid("'url' must be a string.")
  for (const name of Object.keys(body)) {
    if (name !== 'url' && name !== 'validation_data') throw new Invalid(`A location has no member ${name}.`)
  }
  const rule = 'add_image_location'
  const { row } = await findAllowed(environment, request, imageId, rule)
  requireQueued(row)
  const scheme = url.split(':', 1)[0] ?? ''
  const isHttp = scheme === 'http' || scheme === 'https'
  if (!request.identity.roles.includes('service')) {
    const isServed = environment.stores.stores.some((store) => store.schemes.includes(scheme))
    if (!isHttp || !isServed) {
      throw new Forbidden(`Only http and https locations may be added, and only with a store for them.`)
    }
  }
  const configured = storeOfUrl(environment, url, undefined)
  const validation = validationOf(body['validation_data'])

  await environment.db.transaction().execute(async (transaction) => {
    const options = { db: transaction, lock: true }
    requireQueued((await findAllowed(environment, request, imageId, rule, options)).row)
    const task = await insertTask(transaction, environment, request, {
      type: 'location_import',
      imageId,
      input: {
        loc_url: withoutSecrets(url),
        validation_data: validation === undefined ? {} : { ...validation },
      },
    })
    await acquireImportLock(transaction, environment, imageId, task.id)
    await transaction
      .updateTable('images')
      .set({ status: 'importing', updated_at: environment.now().toISOString() })
      .where('id', '=', imageId)
      .execute()
    const payload: LocationPayload = {
      taskId: task.id,
      imageId,
      url,
      storeId: configured.id,
      ...(validation === undefined
        ? {}
        : { validation: { algorithm: validation.algorithm, value: validation.value } }),
    }
    await environment.jobs.enqueue(transaction, locationKind, {
      resource: `image-import:${imageId}`,
      payload,
      requestId: request.requestId,
    })
  })
}

function requireQueued(row: {
  readonly status: string
  readonly id: string
  readonly disk_format: string | null
  readonly container_format: string | null
}): void {
  if (row.status !== 'queued') {
    throw new Conflict(`It's not allowed to add a location while image ${row.id} is ${row.status}.`)
  }
  if (row.disk_format === null || row.container_format === null) {
    throw new Invalid('Properties disk_format, container_format must be set prior to saving data.')
  }
}

/** @throws Invalid for half of it, an unknown algorithm, or a value that is no such hash */
function validationOf(value: unknown): ValidationData | undefined {
  if (value === undefined || value === null) return undefined
  const fields = new Map<string, unknown>(typeof value === 'object' ? Object.entries(value) : [])
  if (fields.size === 0) return undefined
  const algorithm = fields.get('os_hash_algo')
  const hash = fields.get('os_hash_value')
  if (typeof algorithm !== 'string' || typeof hash !== 'string') {
    throw new Invalid('validation_data needs both os_hash_algo and os_hash_value.')
  }
  if (!algorithms.includes(algorithm)) {
    throw new Invalid(`os_hash_algo must be one of ${algorithms.join(', ')}.`)
  }
  if (!/^[0-9a-f]+$/i.test(hash) || hash.length !== digestDigits(algorithm)) {
    throw new Invalid(`os_hash_value is not the hexadecimal value of a ${algorithm} hash.`)
  }
  return { algorithm, value: hash.toLowerCase(), checksum: undefined }
}

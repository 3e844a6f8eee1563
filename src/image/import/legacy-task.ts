import { Invalid } from '../../kernel/errors.ts'
import { type Environment, type ImageRequest, requesterOf } from '../environment.ts'
import { insertImage, prepareImage } from '../images/create.ts'
import { requireTaskAccess } from '../tasks/list.ts'
import { insertTask, type Task } from '../tasks/queries.ts'
import { checkAddress, withoutSecrets } from './address-filter.ts'
import { editStoreLists } from './bookkeeping.ts'
import { type ImportPayload, importKind } from './job.ts'
import { acquireImportLock } from './lock.ts'

/**
 * The older way to import: a task that makes an image of what lies at an address. The image goes away again when
 * the import fails.
 * @throws Forbidden, Invalid
 * @see image-api specification 4.10
 */
export async function createImportTask(
  environment: Environment,
  request: ImageRequest,
  body: Readonly<Record<string, unknown>>,
): Promise<Task> {
  requireTaskAccess(environment, request, 'add_task')
  if (body['type'] !== 'import') {
    throw new Invalid(`Provided object does not match schema 'task': type must be 'import'.`)
  }
  const { uri, format, properties } = parseInput(body['input'])
  await checkAddress(uri, environment.imports.filter)
  const target = environment.stores.default
  const image = prepareImage(environment, request, {
    disk_format: format,
    container_format: 'bare',
    ...properties,
  })
  await environment.quotas.checkCreate(request)
  return await environment.db.transaction().execute(async (transaction) => {
    const { id: imageId } = image.row
    await insertImage(transaction, { ...image, row: { ...image.row, status: 'importing' } })
    const task = await insertTask(transaction, environment, request, {
      type: 'import',
      imageId,
      input: { import_from: withoutSecrets(uri), import_from_format: format, image_properties: properties },
    })
    await acquireImportLock(transaction, environment, imageId, task.id)
    if (environment.stores.multiStore) await editStoreLists(transaction, imageId, { begun: [target.id] })
    const payload: ImportPayload = {
      taskId: task.id,
      imageId,
      method: { name: 'web-download', uri },
      targets: [target.id],
      mustSucceed: true,
      roles: request.identity.roles,
      removeOnFailure: true,
    }
    environment.running.keepRequester(task.id, requesterOf(request))
    await environment.jobs.enqueue(transaction, importKind, {
      resource: `image-import:${imageId}`,
      payload,
      requestId: request.requestId,
    })
    return task
  })
}

type Properties = Record<string, string | number | boolean | readonly string[]>

/** @throws Invalid for an input that lacks something, or has what no image could have */
function parseInput(input: unknown): { uri: string; format: string; properties: Properties } {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw new Invalid("Input to task must be an object with 'import_from'.")
  }
  const fields = new Map<string, unknown>(Object.entries(input))
  for (const name of ['import_from', 'import_from_format', 'image_properties']) {
    if (!fields.has(name)) throw new Invalid(`Input does not contain '${name}' field`)
  }
  const uri = fields.get('import_from')
  const format = fields.get('import_from_format')
  const properties = fields.get('image_properties')
  if (typeof uri !== 'string' || typeof format !== 'string') {
    throw new Invalid("'import_from' and 'import_from_format' must be strings.")
  }
  if (typeof properties !== 'object' || properties === null || Array.isArray(properties)) {
    throw new Invalid("'image_properties' must be an object.")
  }
  return { uri, format, properties: properties as Properties } // the image's schema looks at each of them
}

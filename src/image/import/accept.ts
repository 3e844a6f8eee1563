import { Conflict, Invalid } from '../../kernel/errors.ts'
import { type Environment, type ImageRequest, requesterOf } from '../environment.ts'
import { detailed, findAllowed, findVisible, requireAllowed } from '../images/access.ts'
import type { Image, ImageRow } from '../images/queries.ts'
import { signatureOf } from '../signatures/verifier.ts'
import { insertTask } from '../tasks/queries.ts'
import { checkAddress } from './address-filter.ts'
import { editStoreLists, removeProperty, stageHostProperty } from './bookkeeping.ts'
import { type ImportPayload, importKind } from './job.ts'
import { acquireImportLock } from './lock.ts'
import type { ImportMethod, ImportRequest } from './request.ts'

/** From which status a method imports. */
const statusFor: Readonly<Record<ImportMethod['name'], string>> = {
  'glance-direct': 'uploading',
  'web-download': 'queued',
  'copy-image': 'active',
  'glance-download': 'queued',
}

/**
 * Accepts an import: checks it, takes the image's lock, and leaves the work to a job. The task can be read before
 * this returns.
 * @param headerStore `X-Image-Meta-Store`
 * @throws NotFound, Conflict, Forbidden, Invalid, OverQuota, in the order of the specification's table
 * @see image-api specification 4.2
 */
export async function acceptImport(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
  wanted: ImportRequest,
  headerStore: string | undefined,
): Promise<void> {
  const { method } = wanted
  const found = await findVisible(environment, request, imageId)
  const { row } = found
  const image = await detailed(environment.db, row)
  checkStatus(image, method)
  if (row.container_format === null || row.disk_format === null) {
    throw new Conflict(`'disk_format' and 'container_format' needs to be set before import can be started.`)
  }
  const rule = method.name === 'copy-image' ? 'copy_image' : 'modify_image'
  requireAllowed(environment, request, rule, found)
  const targets = chooseTargets(environment, wanted, image, headerStore)
  if (targets.length === 0) return // a copy that is everywhere already
  if (method.name === 'web-download') await checkAddress(method.uri, environment.imports.filter)
  await environment.quotas.checkImport(request, image, method.name)
  const signed = method.name === 'copy-image' ? undefined : signatureOf(image.properties)
  const certificate =
    signed === undefined
      ? undefined
      : await environment.keys.certificate(signed.certificateId, request.token, request.signal)

  await environment.db.transaction().execute(async (transaction) => {
    const options = { db: transaction, lock: true }
    const locked = await findAllowed(environment, request, imageId, rule, options)
    checkStatus(locked.row, method)
    const task = await insertTask(transaction, environment, request, {
      type: 'api_image_import',
      imageId,
      input: { image_id: imageId, import_req: { ...wanted.shown }, backend: targets },
    })
    await acquireImportLock(transaction, environment, imageId, task.id)
    await editStoreLists(transaction, imageId, {
      begun: environment.stores.multiStore ? targets : [],
    })
    if (method.name !== 'copy-image') {
      await removeProperty(transaction, imageId, stageHostProperty)
      await transaction
        .updateTable('images')
        .set({ status: 'importing', updated_at: environment.now().toISOString() })
        .where('id', '=', imageId)
        .where('status', '=', locked.row.status)
        .execute()
    }
    environment.running.keepRequester(task.id, requesterOf(request))
    const payload: ImportPayload = {
      taskId: task.id,
      imageId,
      method,
      targets,
      mustSucceed: wanted.mustSucceed,
      roles: request.identity.roles,
      ...(certificate === undefined ? {} : { certificate: Buffer.from(certificate).toString('base64') }),
    }
    await environment.jobs.enqueue(transaction, importKind, {
      resource: `image-import:${imageId}`,
      payload,
      requestId: request.requestId,
    })
    request.log.info({ imageId, taskId: task.id, method: method.name, targets }, 'import accepted')
  })
}

/** @throws Conflict */
function checkStatus(image: ImageRow, method: ImportMethod): void {
  const needed = statusFor[method.name]
  if (image.status === 'active' && needed !== 'active') {
    throw new Conflict('Only images with status active can be targeted for copying, by copy-image.')
  }
  if (image.status !== needed) {
    throw new Conflict(
      method.name === 'copy-image'
        ? 'Only images with status active can be targeted for copying'
        : `Image needs to be in '${needed}' state to use '${method.name}' import; it is '${image.status}'.`,
    )
  }
  if (image.upload_id !== null) {
    throw new Conflict(`The data of image ${image.id} is still being staged.`)
  }
}

/** @returns ids of stores that do not have the image yet; none when a copy has nothing to do */
function chooseTargets(
  environment: Environment,
  wanted: ImportRequest,
  image: Image,
  headerStore: string | undefined,
): readonly string[] {
  const { stores } = environment
  const isCopy = wanted.method.name === 'copy-image'
  if (!stores.multiStore) {
    if (isCopy) throw new Invalid('Images can only be copied where several stores are configured.')
    if (!wanted.mustSucceed) {
      throw new Invalid(
        "Server does not support multiple stores: all_stores_must_succeed can only be 'false' with them.",
      )
    }
    return [stores.default.id]
  }
  const named = wanted.stores
  if (wanted.allStores && (named !== undefined || headerStore !== undefined)) {
    throw new Invalid("'all_stores' cannot be used together with 'stores' or the header X-Image-Meta-Store.")
  }
  if (named !== undefined && headerStore !== undefined) {
    throw new Invalid("Stores parameter and x-image-meta-store header can't be both specified")
  }
  const writable = stores.stores.filter((store) => !store.readOnly).map(({ id }) => id)
  const chosen = wanted.allStores ? writable : (named ?? [headerStore ?? stores.default.id])
  for (const id of chosen) {
    if (stores.byId(id) === undefined) throw new Conflict(`Store ${id} is not known.`)
    if (!writable.includes(id)) throw new Conflict(`Store ${id} is read-only.`)
  }
  const holding = new Set(image.locations.map((location) => location.storeId))
  if (isCopy && !wanted.allStores) {
    for (const id of chosen) {
      if (holding.has(id)) throw new Invalid(`Image is already present at store '${id}'`)
    }
  }
  return chosen.filter((id) => !holding.has(id))
}

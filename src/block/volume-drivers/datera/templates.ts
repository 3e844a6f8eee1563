import { type AppInstance, EdfNotFound, type TemplateOverride } from '@emberglass/edf'
import { Invalid, Unsupported } from '../../../kernel/errors.ts'
import { type Operation, scopeOf } from './operation.ts'
import { pathIn } from './placement.ts'

/** How to make an app instance from a template. */
export interface Template {
  readonly path: string
  /** Gives it the size that was asked for. */
  readonly override: TemplateOverride | undefined
}

/**
 * Reads a template before anything is made.
 * @throws Invalid when it does not exist, is not of one volume, or has another size that cannot be overridden
 */
export async function readTemplate(
  operation: Operation,
  tenant: string | undefined,
  nameOrPath: string,
  sizeGib: number,
): Promise<Template> {
  const path = pathIn('/app_templates', nameOrPath)
  const template = await scopeOf(operation, tenant)
    .appTemplates.get(path, operation.edf)
    .catch((error: unknown) => {
      if (!(error instanceof EdfNotFound)) throw error
      throw new Invalid(`DF:template: the array has no template '${nameOrPath}'.`, { cause: error })
    })
  const [storage, ...otherStorages] = template.storage_templates
  const [volume, ...otherVolumes] = storage?.volume_templates ?? []
  if (storage === undefined || volume === undefined || otherStorages.length + otherVolumes.length > 0) {
    throw new Invalid(`DF:template: template '${template.name}' does not have exactly one volume.`)
  }
  if (await canOverride(operation)) {
    const volumes = { [volume.name]: { size: sizeGib } }
    return { path, override: { storage_instances: { [storage.name]: { volumes } } } }
  }
  if (volume.size !== sizeGib) {
    const message = `Template '${template.name}' makes volumes of ${volume.size} GiB, not ${sizeGib} GiB.`
    throw new Invalid(`${message} This array cannot override the size.`)
  }
  return { path, override: undefined }
}

/** Whether volumes bound to a template may have a size of their own. */
export async function canOverride(operation: Operation): Promise<boolean> {
  if (operation.settings.disableTemplateOverride) return false
  return await operation.array.client.canOverrideTemplates(operation.edf)
}

/** Whether an app instance was made from a template. */
export function isFromTemplate(appInstance: AppInstance): boolean {
  return (appInstance.app_template?.path ?? '') !== ''
}

/** @throws Unsupported when the volume's size is its template's */
export async function requireResizable(operation: Operation, appInstance: AppInstance): Promise<void> {
  if (!isFromTemplate(appInstance) || (await canOverride(operation))) return
  throw new Unsupported(
    `The volume was made from template '${appInstance.app_template?.path}', which decides its size.`,
  )
}

import type { BlockDb } from '../context.ts'

/** The resources that a volume type adds to every quota. */
export function typeResources(typeName: string): readonly string[] {
  return [`volumes_${typeName}`, `gigabytes_${typeName}`, `snapshots_${typeName}`]
}

/** Limits follow a type to its new name. */
export async function renameTypeLimits(db: BlockDb, before: string, after: string): Promise<void> {
  const names = typeResources(after)
  for (const [i, resource] of typeResources(before).entries()) {
    const renamed = { resource: names[i] ?? resource }
    await db.updateTable('volume_quotas').set(renamed).where('resource', '=', resource).execute()
    await db.updateTable('volume_quota_classes').set(renamed).where('resource', '=', resource).execute()
  }
}

/** Limits go with their type. */
export async function removeTypeLimits(db: BlockDb, typeName: string): Promise<void> {
  const resources = typeResources(typeName)
  await db.deleteFrom('volume_quotas').where('resource', 'in', resources).execute()
  await db.deleteFrom('volume_quota_classes').where('resource', 'in', resources).execute()
}

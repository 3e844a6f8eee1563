import { Invalid } from '../kernel/errors.ts'
import type { Block } from './context.ts'
import type { Operation } from './operation.ts'

/** Every zone that a backend is in; with no backend, the configured one. */
export function zonesOf(block: Pick<Block, 'backends' | 'settings'>): readonly string[] {
  const zones = new Set(block.backends.all.map((backend) => backend.availabilityZone))
  return zones.size === 0 ? [block.settings.storageAvailabilityZone] : [...zones]
}

/**
 * The zone of a new volume.
 * @throws Invalid when the zone asked for does not exist, or the type or the source forbids it
 * @see block-storage-api specification 5.6
 */
export function chooseZone(
  block: Pick<Block, 'backends' | 'settings'>,
  wanted: {
    asked: string | undefined
    ofSource: string | undefined
    extraSpecs: Readonly<Record<string, string>>
  },
): string {
  const { settings } = block
  const fallback = settings.defaultAvailabilityZone ?? settings.storageAvailabilityZone
  const zones = zonesOf(block)
  const ofType = wanted.extraSpecs['RESKEY:availability_zones']?.split(',').map((zone) => zone.trim())
  let zone = wanted.asked || undefined
  if (zone !== undefined && !zones.includes(zone)) {
    if (!settings.allowAvailabilityZoneFallback) {
      throw new Invalid(`Invalid input received: Availability zone '${zone}' is invalid.`)
    }
    zone = undefined
  }
  const { ofSource } = wanted
  if (zone !== undefined && ofSource !== undefined && settings.clonedVolumeSameAz && zone !== ofSource) {
    throw new Invalid(
      `Invalid input received: Volume must be in the same availability zone as the snapshot or volume it is made from (${ofSource}).`,
    )
  }
  zone ??= ofSource
  zone ??=
    ofType === undefined || ofType.includes(fallback) ? fallback : ofType.find((one) => zones.includes(one))
  if (ofType !== undefined && (zone === undefined || !ofType.includes(zone))) {
    throw new Invalid(
      `Invalid input received: Volume type is only supported in these availability zones: ${ofType.join(', ')}`,
    )
  }
  return zone ?? fallback
}

/** `GET os-availability-zone`. */
export function zoneOperations(block: Block): readonly Operation[] {
  return [
    {
      method: 'GET',
      path: '/os-availability-zone',
      async run() {
        const disabled = await block.db
          .selectFrom('volume_services')
          .select('host')
          .where('disabled', '=', 1)
          .execute()
        const enabled = block.backends.all.filter(
          (backend) => !disabled.some((service) => service.host === backend.host),
        )
        const zones = zonesOf(block).map((zoneName) => ({
          zoneName,
          zoneState: {
            available: enabled.some((backend) => backend.availabilityZone === zoneName),
          },
        }))
        return { status: 200, body: { availabilityZoneInfo: zones } }
      },
    },
  ]
}

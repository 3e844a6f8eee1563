import type { Operation } from './operation.ts'
import { volumeFilters } from './volumes/filters.ts'

/** Upstream's default filter file, of the resources that exist here. @see specification 1.9 */
const filters: Readonly<Record<string, readonly string[]>> = {
  volume: volumeFilters.filter((name) => name !== 'display_name' && name !== 'glance_metadata'),
  snapshot: ['name', 'status', 'volume_id', 'metadata', 'availability_zone', 'consumes_quota'],
  attachment: ['volume_id', 'status', 'instance_id', 'attach_status'],
  message: ['resource_uuid', 'resource_type', 'event_id', 'request_id', 'message_level'],
  pool: ['name', 'volume_type'],
  volume_type: ['is_public'],
}

/** `/resource_filters`, from 3.33 on. */
export function resourceFilterOperations(): readonly Operation[] {
  return [
    {
      method: 'GET',
      path: '/resource_filters',
      since: 33,
      async run(request) {
        const wanted = request.query.get('resource')
        const found = Object.entries(filters).filter(([resource]) => wanted === null || resource === wanted)
        return {
          status: 200,
          body: { resource_filters: found.map(([resource, names]) => ({ resource, filters: names })) },
        }
      },
    },
  ]
}

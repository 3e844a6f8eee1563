import { Misconfigured } from '../../../kernel/errors.ts'
import { defineImageStore } from '../../image-store.ts'
import { swiftStoreOptions } from './options.ts'

export default defineImageStore({
  type: 'swift',
  schemes: ['swift', 'swift+http', 'swift+https', 'swift+config'],
  options: swiftStoreOptions,
  async create(settings, place) {
    if (settings.bufferOnUpload && settings.bufferDirectory === undefined) {
      throw new Misconfigured(`[${place.name}] swift_buffer_on_upload needs swift_upload_buffer_dir.`, {
        details: { section: place.name, option: 'swift_upload_buffer_dir' },
      })
    }
    if (settings.multiTenant && settings.referenceFile !== undefined) {
      place.log.warn(
        { store: place.name },
        'a multi-tenant Swift store uses its reference file only for what it does without a requester',
      )
    }
    const [{ SwiftAccounts }, { SwiftStore }] = await Promise.all([
      import('./accounts.ts'),
      import('./store.ts'),
    ])
    return new SwiftStore(settings, new SwiftAccounts(settings, place))
  },
  occupies: ({ multiTenant, referenceFile, defaultReference, authAddress, user, projectId, container }) =>
    multiTenant
      ? `every account, ${container}`
      : `${referenceFile ?? ''} ${defaultReference} ${authAddress ?? ''} ${user ?? projectId ?? ''}, ${container}`.trim(),
})

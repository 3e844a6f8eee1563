import { readTrust } from '../../../kernel/tls-trust.ts'
import { defineImageStore } from '../../image-store.ts'
import { httpStoreOptions } from './options.ts'

export default defineImageStore({
  type: 'http',
  schemes: ['http', 'https'],
  options: httpStoreOptions,
  readOnly: true,
  async create(settings, place) {
    const trust = readTrust('https_ca_certificates_file', settings.caFile, settings.insecure)
    if (!trust.verify) {
      place.log.warn(
        { store: place.name },
        'certificates of web servers are not checked: set https_insecure = false or https_ca_certificates_file',
      )
    }
    const { HttpStore } = await import('./store.ts')
    return new HttpStore({ trust, proxies: settings.proxies })
  },
})

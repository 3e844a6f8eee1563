import { Misconfigured } from '../../../kernel/errors.ts'
import { Secret } from '../../../kernel/secret.ts'
import { readTrust } from '../../../kernel/tls-trust.ts'
import { defineImageStore } from '../../image-store.ts'
import { vmwareStoreOptions } from './options.ts'
import type { Datastore } from './store.ts'

export default defineImageStore({
  type: 'vmware',
  schemes: ['vsphere'],
  options: vmwareStoreOptions,
  async create(settings, place) {
    const missing = [
      ...(settings.host === '' ? ['vmware_server_host'] : []),
      ...(settings.username === '' ? ['vmware_server_username'] : []),
      ...(settings.password === undefined ? ['vmware_server_password'] : []),
      ...(settings.datastores.length === 0 ? ['vmware_datastores'] : []),
    ]
    if (missing.length > 0) {
      throw new Misconfigured(`[${place.name}] of type vmware needs ${missing.join(', ')}.`, {
        details: { section: place.name, missing },
      })
    }
    const [{ VmwareStore }, { Vsphere }] = await Promise.all([import('./store.ts'), import('./vsphere.ts')])
    const server = new Vsphere({
      origin: `https://${settings.host}`,
      username: settings.username,
      password: settings.password ?? new Secret(''),
      trust: readTrust('vmware_ca_file', settings.caFile, settings.insecure),
      retries: settings.retries,
      pollMs: settings.pollSeconds * 1000,
    })
    const directory = settings.imageDirectory.replaceAll(/^\/+|\/+$/g, '')
    const datastores = settings.datastores.map((entry) => datastoreOf(entry, place.name))
    return new VmwareStore({ host: settings.host, datastores, directory }, server)
  },
  occupies: ({ host, datastores, imageDirectory }) =>
    `${host}, ${[...datastores].sort().join(' ')}, ${imageDirectory}`,
})

/** `datacenter:datastore[:weight]`. @throws Misconfigured */
function datastoreOf(entry: string, section: string): Datastore {
  const [, datacenter, name, weight = '0'] = /^([^:]+):([^:]+)(?::(\d*))?$/.exec(entry.trim()) ?? []
  if (datacenter !== undefined && name !== undefined) {
    return { datacenter: datacenter.trim(), name: name.trim(), weight: Number(weight) }
  }
  throw new Misconfigured(
    `[${section}] vmware_datastores: expected datacenter:datastore:weight, not '${entry}'.`,
    {
      details: { section, option: 'vmware_datastores' },
    },
  )
}

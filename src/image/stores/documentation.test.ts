import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { uncancelled } from '../../kernel/call.ts'
import { loadConfig } from '../../kernel/config/config.ts'
import { defaultsOf } from '../../kernel/config/options.ts'
import { Misconfigured } from '../../kernel/errors.ts'
import { silentLogger } from '../../kernel/log.ts'
import { Secret } from '../../kernel/secret.ts'
import { readImageSettings } from '../settings.ts'
import { configureStores } from '../store-configuration.ts'
import type { DateraStoreSettings } from './datera/options.ts'
import { imageStores } from './index.ts'

const documentation = await readFile(new URL('../../../docs/stores.md', import.meta.url), 'utf8')

/** Blocks of `docs/stores.md`, each with the heading above it. */
function blocksOf(kind: 'ini' | ''): readonly { readonly heading: string; readonly text: string }[] {
  const pattern = new RegExp(`^## (.*)$|^\`\`\`${kind}\\n([^]*?)^\`\`\`$`, 'gm')
  const blocks: { heading: string; text: string }[] = []
  let heading = ''
  for (const [, title, text] of documentation.matchAll(pattern)) {
    if (title !== undefined) heading = title
    else if (text !== undefined) blocks.push({ heading, text })
  }
  return blocks
}

const referenceFile = `[ref1]
user = service:glance
key = secret
auth_address = http://192.0.2.20:5000/v3
`

/** The stores of a `glance-api.conf`, whose files lie in a directory of its own, and what the operator is told. */
async function configured(conf: string) {
  const directory = await mkdtemp(join(tmpdir(), 'documented-'))
  try {
    await writeFile(join(directory, 'glance-swift.conf'), referenceFile)
    const text = conf.replaceAll('/etc/glance/', `${directory}/`).replaceAll('/srv/', `${directory}/`)
    const path = join(directory, 'glance-api.conf')
    await writeFile(path, text)
    const config = await loadConfig({ files: [path] })
    readImageSettings(config)
    const registry = await configureStores({
      config,
      definitions: imageStores,
      stateDirectory: directory,
      initiatorName: 'iqn.2026-11.org.emberglass:test',
      log: silentLogger(),
    })
    return { registry, warnings: config.check().warnings }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

for (const [index, { heading, text }] of blocksOf('ini').entries()) {
  test(`the example ${index + 1} of docs/stores.md, under “${heading}”, is read without a complaint`, async () => {
    const { registry, warnings } = await configured(text)
    assert.deepEqual(
      warnings.filter((warning) => !warning.includes('os_glance_')), // those are read by the import
      [],
    )
    assert.ok(registry.stores.length > 0)
    await registry[Symbol.asyncDispose]()
  })
}

test('docs/stores.md has an example for every type', () => {
  const headings = new Set(blocksOf('ini').map(({ heading }) => heading))
  for (const { type } of imageStores) {
    if (type !== 'memory') assert.ok(headings.has(type), `there is no example for ${type}`)
  }
})

/** The configuration of the operators' guide to several stores. */
const shared = `[shared]
filesystem_store_datadir = /srv/glance/shared_images/
store_description = "Shared filesystem store"
[reliable]
filesystem_store_datadir = /srv/glance/reliable
store_description = "Reliable filesystem backend"
`
const guide = (backends: string, chosen: string) =>
  `[DEFAULT]\nenabled_backends = ${backends}\n[glance_store]\n${chosen}\n${shared}`

test('key:value pairs name stores and their types; descriptions lose their quotes', async () => {
  const { registry, warnings } = await configured(
    guide('shared:file, reliable:file', 'default_backend = reliable'),
  )
  assert.deepEqual(warnings, [])
  assert.deepEqual(
    registry.stores.map(({ id, type, description }) => [id, type, description]),
    [
      ['shared', 'file', 'Shared filesystem store'],
      ['reliable', 'file', 'Reliable filesystem backend'],
    ],
  )
  assert.equal(registry.default.id, 'reliable')
})

test('the example of the guide works as it is written', async () => {
  const { registry, warnings } = await configured(`[DEFAULT]
enabled_backends = fast:rbd, cheap:rbd, shared:file, reliable:file
[glance_store]
default_backend = fast
${shared}
[fast]
store_description = "Fast rbd backend"
rbd_store_chunk_size = 8
rbd_store_pool = images
rbd_store_user = admin
rbd_store_ceph_conf = /etc/ceph/ceph.conf
rados_connect_timeout = 0
[cheap]
store_description = "Cheap rbd backend"
rbd_store_chunk_size = 8
rbd_store_pool = images
rbd_store_user = admin
rbd_store_ceph_conf = /etc/ceph/ceph1.conf
rados_connect_timeout = 0
`)
  assert.deepEqual(warnings, [])
  assert.deepEqual(
    registry.stores.map(({ id }) => id),
    ['fast', 'cheap', 'shared', 'reliable'],
  )
  assert.equal(registry.default.id, 'fast')
})

const refused: readonly (readonly [string, string, RegExp])[] = [
  [
    'a name with the reserved prefix',
    guide('os_glance_x:file, reliable:file', 'default_backend = reliable'),
    /os_glance_/,
  ],
  ['no default', guide('shared:file, reliable:file', ''), /default_backend/],
  ['a default that is none', guide('shared:file', 'default_backend = other'), /default_backend/],
  [
    'several http stores',
    `${guide('shared:file, a:http, b:http', 'default_backend = shared')}[a]\n[b]\n`,
    /'a' and 'b' are both of type http/,
  ],
  [
    'the read-only store as default',
    `${guide('shared:file, web:http', 'default_backend = web')}[web]\n`,
    /read-only/,
  ],
  [
    'two stores in one directory',
    guide('shared:file, reliable:file', 'default_backend = shared').replace(
      '/srv/glance/reliable',
      '/srv/glance/shared_images',
    ),
    /each store needs a directory of its own/,
  ],
  [
    'a reserved store in the directory of another',
    `${guide('shared:file', 'default_backend = shared')}[os_glance_staging_store]\nfilesystem_store_datadir = /srv/glance/shared_images\n`,
    /each store needs a directory of its own/,
  ],
  ['two default stores', '[glance_store]\nstores = file,http\ndefault_store = file,http\n', /default_store/],
  [
    'a reserved store among the others',
    guide('shared:file, os_glance_staging_store:file', 'default_backend = shared'),
    /'os_glance_staging_store'/,
  ],
  ['sheepdog', guide('x:sheepdog', 'default_backend = x'), /sheepdog no longer exists/],
  ['sheepdog without names', '[glance_store]\nstores = file,sheepdog\n', /sheepdog no longer exists/],
  [
    'two stores in one bucket',
    `[DEFAULT]
enabled_backends = a:s3, b:s3
[glance_store]
default_backend = a
[backend_defaults]
s3_store_host = http://s3.example
s3_store_access_key = x
s3_store_secret_key = y
s3_store_bucket = glance
[a]
[b]
`,
    /same storage/,
  ],
  [
    'two stores on one array and tenant',
    `[DEFAULT]
enabled_backends = a:datera, b:datera
[glance_store]
default_backend = a
[backend_defaults]
datera_san_ip = 192.0.2.10
datera_san_login = x
datera_san_password = y
[a]
[b]
`,
    /same storage/,
  ],
]
for (const [what, conf, message] of refused) {
  test(`${what} keeps the service from starting, with one line that says why`, async () => {
    await assert.rejects(configured(conf), (error) => {
      assert.ok(error instanceof Misconfigured)
      assert.match(error.message, message)
      assert.doesNotMatch(error.message, /\n/)
      return true
    })
  })
}

test('the options of the Glance-on-Cinder proposal choose whose project images lie in', async () => {
  const proposal = (more: string) => `[DEFAULT]
enabled_backends = volumes:cinder
[glance_store]
default_backend = volumes
[volumes]
cinder_store_auth_address = http://192.0.2.20:5000/v3
${more}`
  const single = await configured(
    proposal(
      'cinder_store_tenant = service\ncinder_store_user = glance\ncinder_store_key = secret\nbootable_volume_formats = ‘raw’, ‘qcow2’\n',
    ),
  )
  assert.equal(single.registry.default.store.properties?.['multi_tenant'], false)
  assert.equal(single.warnings.filter((warning) => /cinder_store_(tenant|user|key)/.test(warning)).length, 3)
  const multi = await configured(proposal('cinder_store_multitenant = True\n'))
  assert.equal(multi.registry.default.store.properties?.['multi_tenant'], true)
  await assert.rejects(configured(proposal('cinder_store_user = glance\n')), /only a part/)
})

test('every type of the guide can be a store, and every name of the older choice of stores', async () => {
  const needed = `[backend_defaults]
swift_store_config_file = /etc/glance/glance-swift.conf
default_swift_reference = ref1
vmware_server_host = vcenter.example
vmware_server_username = glance
vmware_server_password = secret
vmware_datastores = dc1:fast:200
cinder_store_auth_address = http://192.0.2.20:5000/v3
cinder_store_multitenant = true
`
  const types = ['file', 'http', 'rbd', 'swift', 'cinder', 'vmware', 'datera']
  const backends = types.map((type) => `my-${type}:${type}`).join(', ')
  const array = 'datera_san_ip = 192.0.2.10\ndatera_san_login = x\ndatera_san_password = y\n'
  const { registry } = await configured(
    `[DEFAULT]\nenabled_backends = ${backends}\n[glance_store]\ndefault_backend = my-file\n${needed}${array}`,
  )
  assert.deepEqual(
    registry.stores.map(({ type }) => type),
    types,
  )
  await registry[Symbol.asyncDispose]()
  const names = ['file', 'filesystem', 'http', 'https', 'swift', 'swift+http', 'swift+https', 'swift+config']
  for (const name of [...names, 'rbd', 'cinder', 'vsphere', 'datera']) {
    const options = needed.replace('[backend_defaults]', `[glance_store]\nstores = file, ${name}`)
    const one = await configured(`${options}${array}`)
    const chosen = one.registry.stores.find(({ schemes }) => schemes.includes(name))
    assert.ok(chosen !== undefined, `${name} is no store`)
    await one.registry[Symbol.asyncDispose]()
  }
})

test('the Datera image store needs its three options, and says which one is missing', async () => {
  const needed = ['datera_san_ip', 'datera_san_login', 'datera_san_password']
  for (const missing of needed) {
    const given = needed.filter((name) => name !== missing).map((name) => `${name} = 192.0.2.10\n`)
    const start = async () => {
      const conf = `[glance_store]\nstores = file,datera\ndefault_store = datera\n${given.join('')}`
      const { registry } = await configured(conf)
      await registry.default.store.start(uncancelled())
    }
    await assert.rejects(
      start(),
      (error) => error instanceof Misconfigured && error.message.includes(missing),
    )
  }
})

test('the port of the array decides between http and https', async () => {
  const { clientOptions } = await import('./datera/settings.ts')
  const { dateraStoreOptions } = await import('./datera/options.ts')
  for (const [apiPort, isPlain] of [
    [7717, true],
    [7718, false],
  ] as const) {
    const { tls } = await clientOptions({ ...defaultsOf<DateraStoreSettings>(dateraStoreOptions), apiPort })
    assert.equal(tls === false, isPlain, `port ${apiPort}`)
  }
})

test('the options of the Datera image store have the defaults of its table', async () => {
  const { dateraStoreOptions: options } = await import('./datera/options.ts')
  const defaults = Object.fromEntries(Object.values(options).map((each) => [each.name, each.default]))
  assert.equal(defaults['datera_san_port'], 7718)
  assert.equal(defaults['datera_replica_count'], 3)
  assert.equal(defaults['datera_placement_mode'], 'hybrid')
  assert.equal(defaults['datera_chunk_size'], 1_073_741_824)
  const { checkSettings } = await import('./datera/settings.ts')
  const given = { host: '192.0.2.10', login: 'x', password: new Secret('y') }
  const settings = { ...defaultsOf<DateraStoreSettings>(options), ...given }
  assert.equal(checkSettings(settings).tenant, '/root')
  for (const mode of ['single_flash', 'all_flash', 'hybrid']) {
    assert.equal(options.placementMode.parse(mode), mode)
  }
  assert.throws(() => options.placementMode.parse('fast'), /fast/)
  assert.equal(options.rootwrapPath.name, 'datera_glance_rootwrap_path')
})

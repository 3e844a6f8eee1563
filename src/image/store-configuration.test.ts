import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadConfig } from '../kernel/config/config.ts'
import { Misconfigured } from '../kernel/errors.ts'
import { silentLogger } from '../kernel/log.ts'
import { configureStores } from './store-configuration.ts'
import file from './stores/file.ts'
import memory from './stores/memory.ts'

async function configured(conf: string) {
  const directory = await mkdtemp(join(tmpdir(), 'stores-'))
  try {
    await mkdir(join(directory, 'a'))
    await symlink(join(directory, 'a'), join(directory, 'link'))
    const path = join(directory, 'glance-api.conf')
    await writeFile(path, conf.replaceAll('$DIR', directory))
    const config = await loadConfig({ files: [path] })
    const registry = await configureStores({
      config,
      definitions: [file, memory],
      stateDirectory: directory,
      initiatorName: 'iqn.2026-11.org.emberglass:test',
      log: silentLogger(),
    })
    config.check()
    return registry
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

const two = (more: string) => `[DEFAULT]
enabled_backends = x:file, y:file
[glance_store]
default_backend = x
${more}
`

test('several stores keep their order, options, weights and default', async () => {
  const registry = await configured(`[DEFAULT]
enabled_backends = fast:memory, cheap:file
[glance_store]
default_backend = cheap
[backend_defaults]
weight = 3
[fast]
weight = 7
store_description = 'Quick'
[cheap]
filesystem_store_datadir = $DIR/a
`)
  assert.ok(registry.multiStore)
  assert.deepEqual(
    registry.stores.map(({ id, type, weight, description }) => [id, type, weight, description]),
    [
      ['fast', 'memory', 7, 'Quick'],
      ['cheap', 'file', 3, undefined],
    ],
  )
  assert.equal(registry.default.id, 'cheap')
  const locations = [
    { url: 'file:///x', storeId: 'cheap' },
    { url: 'memory://x', storeId: 'fast' },
  ]
  assert.deepEqual(
    registry.byWeight(locations).map(({ storeId }) => storeId),
    ['fast', 'cheap'],
  )
})

test('the older single-store options become stores without names', async () => {
  const registry = await configured(`[glance_store]
stores = file,http,memory
default_store = memory
filesystem_store_datadir = $DIR/a
`)
  assert.equal(registry.multiStore, false)
  assert.equal(registry.default.type, 'memory')
  assert.equal(registry.ofLocation({ url: 'file:///x', storeId: undefined })?.type, 'file')
})

test('no configuration at all is a file store', async () => {
  const registry = await configured('')
  assert.deepEqual(
    registry.stores.map(({ type }) => type),
    ['file'],
  )
})

const wrong: readonly (readonly [string, string, RegExp])[] = [
  ['no default_backend', '[DEFAULT]\nenabled_backends = x:file\n', /\[glance_store\] default_backend: .*x/],
  [
    'a default_backend that is no store',
    '[DEFAULT]\nenabled_backends = x:file\n[glance_store]\ndefault_backend = y\n',
    /'y' is not one of x/,
  ],
  ['a reserved name', '[DEFAULT]\nenabled_backends = os_glance_x:file\n', /os_glance_/],
  [
    'an unknown type',
    '[DEFAULT]\nenabled_backends = x:tape\n',
    /no store type 'tape'; there are file, memory/,
  ],
  ['a name twice', '[DEFAULT]\nenabled_backends = x:file, x:memory\n', /two stores called 'x'/],
  ['a name with a slash', '[DEFAULT]\nenabled_backends = a/b:file\n', /'a\/b'/],
  ['an entry without a type', '[DEFAULT]\nenabled_backends = x\n', /name:type/],
  [
    'two stores in one directory',
    two('[x]\nfilesystem_store_datadir = $DIR/a\n[y]\nfilesystem_store_datadir = $DIR/link/\n'),
    /also used by \[x\]/,
  ],
  [
    'a store inside another',
    two('[x]\nfilesystem_store_datadir = $DIR/a\n[y]\nfilesystem_store_datadir = $DIR/a/b\n'),
    /also used by \[x\]/,
  ],
  [
    'a store in the staging directory',
    two(
      '[x]\nfilesystem_store_datadir = $DIR/a\n[y]\nfilesystem_store_datadir = $DIR/c\n[os_glance_staging_store]\nfilesystem_store_datadir = $DIR/c\n',
    ),
    /\[os_glance_staging_store\].*also used by \[y\]/,
  ],
  [
    'a cache inside a store',
    '[DEFAULT]\nenabled_backends = x:file\nimage_cache_dir = $DIR/a/cache\n[glance_store]\ndefault_backend = x\n[x]\nfilesystem_store_datadir = $DIR/a\n',
    /image_cache_dir: .*also used by \[x\]/,
  ],
  [
    'both ways to name directories',
    '[DEFAULT]\nenabled_backends = x:file\n[glance_store]\ndefault_backend = x\n[x]\nfilesystem_store_datadir = $DIR/a\nfilesystem_store_datadirs = $DIR/b:1\n',
    /both filesystem_store_datadir and/,
  ],
  [
    'a weight that is no number',
    '[DEFAULT]\nenabled_backends = x:file\n[glance_store]\ndefault_backend = x\n[x]\nweight = heavy\n',
    /weight/,
  ],
  ['an unknown default_store', '[glance_store]\ndefault_store = tape\n', /no store type 'tape'/],
]

for (const [what, conf, message] of wrong) {
  test(`${what} stops the service with a clear line`, async () => {
    await assert.rejects(configured(conf), (error) => {
      assert.ok(error instanceof Misconfigured, String(error))
      assert.match(error.message, message)
      return true
    })
  })
}

/**
 * `npm run tempest [-- regex]`: starts an instance with two volume backends and three image stores, and runs
 * OpenStack's own integration suite (Debian's package `tempest`) against it. Says at the end which of the tests that
 * upstream's services pass did not. The variables of `run.sh` and `make-conf.sh` apply: `CONCURRENCY=4`, `LOAD_LIST=test/tempest/upstream-passes-volume.txt`, `TEMPEST_SRBAC=1`…
 */
import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePortBlock } from '../../src/main/free-ports.ts'
import { needPrograms } from '../support/debian-packages.ts'
import { startInstance } from '../support/instance.ts'
import { compareWithUpstream, readTests } from './compare.ts'

const obstacle = needPrograms({
  tempest: 'tempest',
  openstack: 'python3-openstackclient',
  'qemu-img': 'qemu-utils',
})
if (obstacle !== undefined) {
  process.stderr.write(`tempest: ${obstacle}\n`)
  process.exit(1)
}

const directory = await mkdtemp(join(tmpdir(), 'emberglass-tempest-'))
try {
  process.exitCode = await run()
} finally {
  await rm(directory, { recursive: true, force: true })
}

async function run(): Promise<number> {
  const state = join(directory, 'var')
  const portBase = await freePortBlock()
  const options = { stateDirectory: state, portBase }
  await (await startInstance(options)).stop() // makes the array's password, which the files below need
  await configure(state, portBase + 9)
  await using instance = await startInstance(options)
  const results = process.env['RESULTS'] ?? join(tmpdir(), 'emberglass-tempest.tsv')
  const result = spawnSync(
    join(import.meta.dirname, 'run.sh'),
    [join(instance.stateDirectory, 'openrc'), ...process.argv.slice(2)],
    {
      stdio: 'inherit',
      env: {
        WORKDIR: join(directory, 'work'),
        TEMPEST_BACKEND_NAMES: 'datera,datera-2',
        TEMPEST_STORAGE_PROTOCOL: 'iSCSI',
        TEMPEST_VENDOR_NAME: 'Datera',
        TEMPEST_CONSISTENCY_GROUP: '1',
        TEMPEST_MANAGE_VOLUME: '1',
        TEMPEST_MANAGE_SNAPSHOT: '1',
        TEMPEST_HTTP_IMAGE_PORT: String(portBase + 9),
        ...process.env,
        RESULTS: results,
      },
    },
  )
  process.stdout.write(await compareWithUpstream(results, await wantedTests()))
  return result.status ?? 1
}

/** Which tests this run is about, as `run.sh` chooses them. */
async function wantedTests(): Promise<(id: string) => boolean> {
  const list = process.env['LOAD_LIST']
  if (list !== undefined && list !== '') {
    const ids = new Set(await readTests(list))
    return (id) => ids.has(id)
  }
  const [regex] = process.argv.slice(2)
  return regex === undefined ? () => true : (id) => new RegExp(regex).test(id)
}

/**
 * Two volume backends on the embedded array, two stores that can be written, and one of the web.
 * @param webPort where the suite's image for imports is served
 */
async function configure(state: string, webPort: number): Promise<void> {
  const array = Object.fromEntries(
    [...(await readFile(join(state, 'edf.env'), 'utf8')).matchAll(/^(\w+)='(.*)'$/gm)].map(
      ([, name, value]) => [name, value] as const,
    ),
  )
  const backend = (name: string) => `[${name}]
volume_driver = cinder.volume.drivers.datera.datera_iscsi.DateraDriver
volume_backend_name = ${name}
san_ip = ${array['EDF_HOST']}
san_login = ${array['EDF_LOGIN']}
san_password = ${array['EDF_PASSWORD']}
san_api_port = ${array['EDF_PORT']}
`
  const cinder = `[DEFAULT]
enabled_backends = datera,datera-2
default_volume_type = datera
${backend('datera')}${backend('datera-2')}`
  await writeFile(join(state, 'cinder.conf'), cinder, { mode: 0o600 })
  const store = (name: string) => `[${name}]\nfilesystem_store_datadir = ${join(state, name)}\n`
  for (const name of ['alpha', 'beta']) await mkdir(join(state, name), { recursive: true })
  const glance = `[DEFAULT]
enabled_backends = alpha:file,beta:file,web:http
show_multiple_locations = true
enabled_import_methods = [glance-direct,web-download,copy-image,glance-download]
image_cache_dir = ${join(state, 'image-cache')}
[glance_store]
default_backend = alpha
${store('alpha')}${store('beta')}[web]
https_insecure = false
[import_filtering_opts]
allowed_ports = [${webPort}]
[image_format]
require_image_format_match = false
[oslo_policy]
policy_file = glance-policy.yaml
`
  // the suite uploads random bytes as images of every format, and its plain users take locations away
  await writeFile(join(state, 'glance-policy.yaml'), 'delete_image_location: rule:set_image_location\n')
  await writeFile(join(state, 'glance-api.conf'), glance, { mode: 0o600 })
}

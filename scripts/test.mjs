// `npm test [-- files]`: runs the tests with our Node, and ends with one line of totals.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const asked = process.argv.slice(2)
const files = asked.length > 0 ? asked : ['src/**/*.test.ts', 'packages/*/**/*.test.ts', 'test/**/*.test.ts']
const compiled = join(root, 'node_modules', '.cache', 'tests')

// Other people's clients and servers that tests run: installed where that is possible (Debian, root). Elsewhere the
// tests that need a missing one are skipped, and say which.
const programs = {
  openstack: 'python3-openstackclient',
  cinder: 'python3-cinderclient',
  glance: 'python3-glanceclient',
  'iscsi-inq': 'libiscsi-bin',
  'qemu-img': 'qemu-utils',
  '/usr/share/doc/qemu-block-extra': 'qemu-block-extra',
  tgtd: 'tgt',
  'ceph-mon': 'ceph-mon',
  'ceph-mgr': 'ceph-mgr',
  'ceph-osd': 'ceph-osd',
  rbd: 'ceph-common',
  psql: 'postgresql',
  'swift-proxy-server': 'swift-proxy',
  openssl: 'openssl',
  mformat: 'mtools',
  sfdisk: 'fdisk',
  '/boot/ipxe.efi': 'ipxe',
}
if (asked.length === 0 && process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
  const pairs = Object.entries(programs).map(([program, debianPackage]) => `${program}=${debianPackage}`)
  spawnSync(join(root, 'test', 'servers', 'packages.sh'), pairs, { stdio: ['ignore', 'inherit', 'inherit'] })
}

const { status } = spawnSync(
  join(root, 'node_modules', '.bin', 'node'),
  [
    '--conditions=source',
    '--disable-warning=ExperimentalWarning',
    `--import=${join(root, 'bin', 'quick-imports.mjs')}`,
    join(root, 'scripts', 'run-tests.mjs'),
    ...files,
  ],
  {
    cwd: root,
    stdio: 'inherit',
    env: { UV_THREADPOOL_SIZE: '16', NODE_COMPILE_CACHE: compiled, ...process.env },
  },
)
process.exit(status ?? 1)

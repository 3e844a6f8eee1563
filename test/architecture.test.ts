import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { test } from 'node:test'

/**
 * Who may import whom: the table of docs/architecture.md, executed. The first room whose folder holds a file is
 * the file's room. A room may always import itself.
 */
interface Room {
  readonly folder: string
  /** Folders or files of ours. A leading `!` takes a part of an earlier entry away again. */
  readonly ours: readonly string[]
  /** Packages; `*` is any. `node:` modules are always allowed. */
  readonly packages: readonly string[]
}

const driverKernel = ['src/kernel', '!src/kernel/db', '!src/kernel/http', '!src/kernel/jobs']

const rooms: readonly Room[] = [
  { folder: 'packages/iscsi', ours: [], packages: [] },
  {
    folder: 'packages/edf/src/client',
    ours: ['packages/iscsi', 'packages/edf/src/schemas', 'packages/edf/src/versions.ts'],
    packages: ['typebox', 'undici'],
  },
  {
    folder: 'packages/edf',
    ours: ['packages/iscsi'],
    packages: ['typebox', 'undici', 'fastify', 'ldapts'],
  },
  { folder: 'src/kernel', ours: ['packages/iscsi'], packages: ['*'] },
  { folder: 'src/datera', ours: [...driverKernel, 'packages'], packages: [] },
  { folder: 'src/ceph', ours: [...driverKernel, 'packages/iscsi'], packages: ['koffi'] },
  { folder: 'src/swift', ours: [...driverKernel, 'src/clients'], packages: ['undici'] },
  { folder: 'src/s3', ours: driverKernel, packages: ['@aws-sdk/client-s3', '@aws-sdk/lib-storage'] },
  { folder: 'src/disk-image', ours: ['src/kernel', 'packages/iscsi'], packages: [] },
  {
    folder: 'src/block/volume-drivers/datera',
    ours: [...driverKernel, 'packages', 'src/datera', 'src/block/volume-driver.ts'],
    packages: ['lru-cache'],
  },
  {
    folder: 'src/block/volume-drivers/index.ts',
    ours: ['src/block/volume-drivers', 'src/block/volume-driver.ts'],
    packages: [],
  },
  {
    folder: 'src/block/volume-drivers/rbd',
    ours: [...driverKernel, 'packages', 'src/ceph', 'src/block/volume-driver.ts'],
    packages: [],
  },
  {
    folder: 'src/block/volume-drivers',
    ours: [...driverKernel, 'packages', 'src/block/volume-driver.ts'],
    packages: [],
  },
  {
    folder: 'src/block/backup-drivers/index.ts',
    ours: ['src/block/backup-drivers', 'src/block/backup-driver.ts'],
    packages: [],
  },
  {
    folder: 'src/block/backup-drivers',
    ours: [
      ...driverKernel,
      'packages',
      'src/datera',
      'src/ceph',
      'src/swift',
      'src/s3',
      'src/block/backup-driver.ts',
    ],
    packages: [],
  },
  {
    folder: 'src/image/stores/datera',
    ours: [...driverKernel, 'packages', 'src/datera', 'src/image/image-store.ts'],
    packages: ['lru-cache'],
  },
  {
    folder: 'src/image/stores/index.ts',
    ours: ['src/image/stores', 'src/image/image-store.ts'],
    packages: [],
  },
  {
    folder: 'src/image/stores',
    ours: [
      ...driverKernel,
      'packages',
      'src/ceph',
      'src/swift',
      'src/s3',
      'src/clients',
      'src/image/image-store.ts',
    ],
    packages: ['undici'],
  },
  { folder: 'src/identity', ours: ['src/kernel', 'packages'], packages: ['*'] },
  { folder: 'src/block', ours: ['src/kernel', 'src/disk-image', 'packages'], packages: ['*'] },
  { folder: 'src/image', ours: ['src/kernel', 'src/disk-image', 'packages'], packages: ['*'] },
  { folder: 'src/clients', ours: ['src/kernel', 'packages/iscsi'], packages: ['*'] },
  {
    folder: 'src/cli',
    ours: ['src/kernel', 'src/clients', 'packages/iscsi', '!src/kernel/db', '!src/kernel/jobs'],
    packages: ['*'],
  },
  { folder: 'src/main', ours: ['src', 'packages'], packages: ['*'] },
  { folder: 'src/main.ts', ours: ['src/main'], packages: [] },
]

const root = join(import.meta.dirname, '..')

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .filter((path) => !path.includes('node_modules/') && !path.includes('/dist/'))
}

const productFiles = [...sources('src'), ...sources('packages')].filter(isProduct)

/** Tests and the suites they share may reach further: they prove rooms against each other. */
function isProduct(path: string): boolean {
  return (
    !/(\.test|\.conformance|-conformance|\/testing|test-support)\.ts$/.test(path) && !path.includes('/test/')
  )
}

const importPattern =
  /(?:^|\n)\s*(?:import|export)\s[^'"]*?from\s+'([^']+)'|\bimport\(\s*'([^']+)'\s*\)|(?:^|\n)import '([^']+)'/g

function importsOf(path: string): string[] {
  const text = readFileSync(join(root, path), 'utf8')
  return [...text.matchAll(importPattern)].map((match) => match[1] ?? match[2] ?? match[3] ?? '')
}

const within = (path: string, folder: string) => path === folder || path.startsWith(`${folder}/`)

function allowed(path: string, entries: readonly string[]): boolean {
  let verdict = false
  for (const entry of entries) {
    if (entry.startsWith('!')) {
      if (within(path, entry.slice(1))) verdict = false
    } else if (within(path, entry)) verdict = true
  }
  return verdict
}

function complaint(path: string, specifier: string): string | undefined {
  const room = rooms.find((candidate) => within(path, candidate.folder))
  if (room === undefined) return `${path} is in no room of the table`
  if (specifier.startsWith('node:')) return undefined
  let target: string
  if (specifier.startsWith('.')) {
    target = relative(root, resolve(root, dirname(path), specifier))
      .split(sep)
      .join('/')
  } else if (specifier.startsWith('@emberglass/')) {
    target = specifier.replace('@emberglass/', 'packages/')
  } else {
    const name = specifier
      .split('/')
      .slice(0, specifier.startsWith('@') ? 2 : 1)
      .join('/')
    return room.packages.includes('*') || room.packages.includes(name)
      ? undefined
      : `${path} imports the package ${name}, which ${room.folder} may not`
  }
  if (within(target, room.folder)) return undefined
  return allowed(target, room.ours) ? undefined : `${path} imports ${target}, which ${room.folder} may not`
}

test('every import stays within what the architecture allows', () => {
  const complaints = productFiles.flatMap((path) =>
    importsOf(path).flatMap((specifier) => complaint(path, specifier) ?? []),
  )
  assert.deepEqual(complaints, [])
})

test('the rule finds an import that is not allowed', () => {
  assert.match(String(complaint('src/block/service.ts', '../image/service.ts')), /may not/)
  assert.match(String(complaint('packages/iscsi/src/index.ts', 'fastify')), /may not/)
  assert.match(
    String(complaint('src/block/volume-drivers/datera/index.ts', '../../../kernel/db/database.ts')),
    /may not/,
  )
  assert.equal(complaint('src/block/service.ts', '../kernel/call.ts'), undefined)
})

test('no source file is longer than one reads in a sitting', () => {
  const long = productFiles.filter((path) => readFileSync(join(root, path), 'utf8').split('\n').length > 601)
  assert.deepEqual(long, [])
})

test('no two files of the product import each other in a circle of values', () => {
  const graph = new Map(
    productFiles.map((path) => {
      const text = readFileSync(join(root, path), 'utf8').replaceAll(/import type [^;\n]*?from '[^']+'/gs, '')
      const targets = [...text.matchAll(/(?:^|\n)(?:import|export)\s([^'"]*?)from\s+'(\.[^']+)'/g)]
        .filter((match) => !/^\{(\s*type [\w\s]+,?)+\s*\}\s*$/.test(match[1] ?? ''))
        .map((match) =>
          relative(root, resolve(root, dirname(path), match[2] ?? ''))
            .split(sep)
            .join('/'),
        )
      return [path, targets] as const
    }),
  )
  const finished = new Set<string>()
  const circles: string[] = []
  const visit = (path: string, trail: readonly string[]) => {
    if (trail.includes(path)) {
      circles.push([...trail.slice(trail.indexOf(path)), path].join(' → '))
      return
    }
    if (finished.has(path)) return
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path])
    finished.add(path)
  }
  for (const path of graph.keys()) visit(path, [])
  assert.deepEqual(circles, [])
})

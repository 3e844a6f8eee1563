import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { EdfClient, EdfTls, type EdfTlsOptions } from '../src/client/index.ts'

const root = join(import.meta.dirname, '..')
const limitMs = 60_000

interface RunningNode {
  readonly directory: string
  readonly httpUrl: string
  readonly httpsUrl: string
  readonly password: string
}

/** Runs an example to its end against a node. @returns what it printed */
async function run(example: string, node: RunningNode): Promise<string> {
  const argv = ['--conditions=source', join(root, 'examples', example)]
  const env = { ...process.env, EDF_URL: node.httpsUrl, EDF_LOGIN: 'admin', EDF_PASSWORD: node.password }
  const { stdout } = await promisify(execFile)(process.execPath, argv, { timeout: limitMs, env })
  return stdout
}

/** Starts the example that runs a node, for the length of a test. */
async function startNode(t: TestContext): Promise<RunningNode> {
  const parent = await mkdtemp(join(tmpdir(), 'edf-examples-'))
  t.after(() => rm(parent, { recursive: true, force: true }))
  const directory = join(parent, 'node')
  const argv = ['--conditions=source', join(root, 'examples', 'start-node.ts'), directory, '0', '0', '0']
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(async () => {
    const ended = once(child, 'exit')
    child.kill('SIGTERM')
    assert.deepEqual(await ended, [0, null], 'the example ended in an orderly way')
  })
  const [line] = await once(createInterface(child.stdout), 'line', { signal: AbortSignal.timeout(limitMs) })
  const [, httpUrl, httpsUrl] = /REST at (\S+) and (\S+), iSCSI at/.exec(String(line)) ?? []
  assert.ok(httpUrl && httpsUrl, `the example printed: ${line}`)
  const password = (await readFile(join(directory, 'admin-password'), 'utf8')).trim()
  return { directory, httpUrl, httpsUrl, password }
}

function connect(node: RunningNode, tls: EdfTlsOptions): Promise<EdfClient> {
  const { hostname: host, port } = new URL(node.httpsUrl)
  const options = {
    host,
    port: Number(port),
    tls,
    login: 'admin',
    password: node.password,
    driver: 'Test-1.0',
  }
  return EdfClient.connect(options, { signal: AbortSignal.timeout(limitMs) })
}

test('the examples run against the node that an example starts, and leave nothing on it', async (t) => {
  const node = await startNode(t)
  const volumes = await run('volumes.ts', node)
  assert.match(volumes, /^EDF 3\.3\.0\.0, API 2\.2\n\/app_instances\/\S+ at 127\.0\.0\.1/)
  assert.match(volumes, /\nexample\nexample-clone\n$/)
  assert.equal(await run('disk.ts', node), '1073741824 bytes; read "emberglass"\n')
  const errors = await run('errors.ts', node)
  assert.match(errors, /\nundefined\n.*\nEdfNotFound 404, code 3\n/)
  assert.match(errors, /\nEdfAuth: refused at once\n/)
  assert.match(errors, /\nEdfUnavailable: tried for a second, carried out: none\n$/)
  assert.ok(!errors.includes(node.password))

  const ca = await readFile(join(node.directory, 'tls.crt'), 'utf8')
  await using array = await connect(node, { verify: true, ca })
  assert.deepEqual(
    await array.in('/root').appInstances.list({}, { signal: AbortSignal.timeout(limitMs) }),
    [],
  )
  await assert.rejects(connect(node, { verify: true }), EdfTls)
})

test('the README shows every example as it is', async () => {
  const readme = await readFile(join(root, 'README.md'), 'utf8')
  const shown = new Map(
    [...readme.matchAll(/\[`(examples\/[a-z-]+\.ts)`\][^\n]*\n\n```ts\n(.*?)```/gs)].map((match) => [
      match[1],
      match[2],
    ]),
  )
  const files = (await readdir(join(root, 'examples'))).map((name) => `examples/${name}`)
  assert.deepEqual([...shown.keys()].sort(), files.sort())
  for (const [name, text] of shown) {
    assert.equal(text, await readFile(join(root, String(name)), 'utf8'), `${name} differs`)
  }
})

test('the README names every collection and every class of error that the client has', async () => {
  const readme = await readFile(join(root, 'README.md'), 'utf8')
  const scope = await readFile(join(root, 'src', 'client', 'scope.ts'), 'utf8')
  const errors = await readFile(join(root, 'src', 'client', 'errors.ts'), 'utf8')
  const names = [
    ...[...scope.matchAll(/(\w+)(?:\([^)]*\))? \{\n {4}return new Collection/g)].map((match) => match[1]),
    ...[...errors.matchAll(/^export class (\w+)/gm)].map((match) => match[1]),
  ]
  assert.ok(names.length > 20, `only ${names.join(', ')}`)
  for (const name of names) assert.ok(readme.includes(`\`${name}`), `${name} is missing`)
})

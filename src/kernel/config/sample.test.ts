import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Secret } from '../secret.ts'
import { loadConfig } from './config.ts'
import { boolean, dictionary, integer, list, requiredText, secret, text } from './options.ts'
import { sampleConfig } from './sample.ts'

const options = {
  host: requiredText('san_ip', { help: 'Management address.', deprecatedNames: ['san_host'] }),
  password: secret('san_password', { help: 'Its password.', default: new Secret('never shown') }),
  price: text('price', { help: 'Costs.', default: '5$' }),
  hosts: list('hosts', { help: 'Many.', default: ['a', 'b'] }),
  map: dictionary('map', { help: 'Pairs.', default: { a: '1' } }),
  size: integer('size', { help: `Long. ${'word '.repeat(30)}`, default: 7 }),
  flag: boolean('flag', { help: 'Yes or no.', default: true }),
}

test('the sample names every option with help, kind and default, and no secret', () => {
  const sample = sampleConfig([{ section: 'backend', options }])
  assert.match(
    sample,
    /^\[backend\]\n\n# Management address\. \(string, required\)\n# Deprecated names: san_host\n#san_ip = \n/,
  )
  assert.match(sample, /#hosts = a,b\n/)
  assert.match(sample, /#map = a:1\n/)
  assert.doesNotMatch(sample, /never shown/)
  for (const line of sample.split('\n')) assert.ok(line.length <= 80)
})

test('the sample, uncommented, reads back as the defaults', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'emberglass-sample-'))
  try {
    const file = join(directory, 'sample.conf')
    const sample = sampleConfig([{ section: 'backend', options }])
    await writeFile(file, sample.replace(/^#(\w)/gm, '$1'))
    const config = await loadConfig({ files: [file] })
    const { host, price, hosts, map, size, flag } = config.read('backend', options)
    assert.deepEqual(config.check().warnings, [])
    assert.deepEqual(
      { host, price, hosts, map, size, flag },
      { host: '', price: '5$', hosts: ['a', 'b'], map: { a: '1' }, size: 7, flag: true },
    )
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})

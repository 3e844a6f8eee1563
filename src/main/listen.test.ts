import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadConfig } from '../kernel/config/config.ts'
import { blockStorageAddress, imageAddress, urlOf } from './listen.ts'
import { portsFrom } from './ports.ts'

const nothing = { host: undefined, portsAreAsked: false, ports: portsFrom(undefined) }

test('services listen where their configuration says, unless the command line says otherwise', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'emberglass-listen-'))
  try {
    const file = join(directory, 'both.conf')
    const lines = ['osapi_volume_listen = 10.1.2.3', 'osapi_volume_listen_port = 18776', 'bind_port = 19292']
    await writeFile(file, ['[DEFAULT]', ...lines, ''].join('\n'))
    const config = await loadConfig({ files: [file] })
    assert.deepEqual(blockStorageAddress(config, nothing), { host: '10.1.2.3', port: 18776 })
    assert.deepEqual(imageAddress(config, nothing), { host: '127.0.0.1', port: 19292 })
    const asked = { host: '10.9.9.9', portsAreAsked: true, ports: portsFrom(20000) }
    assert.deepEqual(blockStorageAddress(config, asked), { host: '10.9.9.9', port: 20001 })
    assert.deepEqual(imageAddress(config, asked), { host: '10.9.9.9', port: 20002 })
    const empty = await loadConfig({ files: [] })
    assert.deepEqual(blockStorageAddress(empty, nothing), { host: '127.0.0.1', port: 8776 })
    assert.deepEqual(imageAddress(empty, nothing), { host: '127.0.0.1', port: 9292 })
  } finally {
    await rm(directory, { recursive: true })
  }
})

test('a URL names an address that others can connect to', () => {
  assert.equal(urlOf({ host: '10.1.2.3', port: 9292 }), 'http://10.1.2.3:9292')
  assert.equal(urlOf({ host: '2001:db8::7', port: 9292 }), 'http://[2001:db8::7]:9292')
  assert.doesNotMatch(urlOf({ host: '0.0.0.0', port: 9292 }), /0\.0\.0\.0/)
})

import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadConfig } from '../config/config.ts'
import { Misconfigured } from '../errors.ts'
import { PolicyFiles } from './files.ts'

async function inDirectory(run: (directory: string, files: () => Promise<PolicyFiles>) => Promise<void>) {
  const directory = await mkdtemp(join(tmpdir(), 'emberglass-policy-'))
  const configFile = join(directory, 'service.conf')
  await writeFile(configFile, '[oslo_policy]\nenforce_new_defaults = false\n')
  try {
    await run(directory, async () => new PolicyFiles(await loadConfig({ files: [configFile] })))
  } finally {
    await rm(directory, { recursive: true })
  }
}

test('rules are read from the file beside the configuration and from the directory, which wins', async () => {
  await inDirectory(async (directory, files) => {
    await writeFile(join(directory, 'policy.yaml'), '# ours\n"volume:create": "role:a"\n"volume:get": "!"\n')
    await mkdir(join(directory, 'policy.d'))
    await writeFile(
      join(directory, 'policy.d', '1.json'),
      '{"volume:get": [["role:b", "role:c"], ["role:d"]]}',
    )
    const policy = await files()
    assert.equal(policy.enforceNewDefaults, false)
    assert.deepEqual(await policy.changed(), {
      'volume:create': 'role:a',
      'volume:get': '(role:b and role:c) or (role:d)',
    })
    assert.equal(await policy.changed(), undefined, 'nothing has changed')
    await writeFile(join(directory, 'policy.yaml'), '"volume:create": "role:another"\n')
    assert.equal((await policy.changed())?.['volume:create'], 'role:another')
  })
})

test('without files there are no rules, and a file that is taken away takes its rules along', async () => {
  await inDirectory(async (directory, files) => {
    const policy = await files()
    assert.equal(await policy.changed(), undefined)
    await writeFile(join(directory, 'policy.yaml'), '{}')
    assert.deepEqual(await policy.changed(), {})
    await writeFile(join(directory, 'policy.yaml'), '"a": "@"\n')
    assert.deepEqual(await policy.changed(), { a: '@' })
    await rm(join(directory, 'policy.yaml'))
    assert.deepEqual(await policy.changed(), {})
  })
})

test('a file that is no map of rules is refused', async () => {
  await inDirectory(async (directory, files) => {
    for (const content of ['- a\n- b\n', 'a: 5\n', '"a": [\n', 'a: {b: c}\n']) {
      await writeFile(join(directory, 'policy.yaml'), content)
      await assert.rejects((await files()).changed(), Misconfigured, content)
    }
  })
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { startTestBlock } from '../testing.ts'
import { fixedKeyId } from './encryption-key.ts'

onEachEngine((engine) => {
  test(`volumes of an encrypted type have a key, and so have their copies, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine, {
      config: {
        DEFAULT: { enabled_backends: 'first' },
        first: { volume_driver: 'memory' },
        key_manager: {
          backend: 'cinder.keymgr.conf_key_mgr.ConfKeyManager',
          fixed_key: '00112233445566778899aabbccddeeff',
        },
      },
    })
    const ask = async (method: 'GET' | 'POST', path: string, body?: object) => {
      const answer = await block.request('admin', method, path, { body, version: '3.70' })
      await block.idle()
      return answer
    }
    const { volume_type: type } = (await ask('POST', '/types', { volume_type: { name: 'luks' } })).body
    const encryption = {
      provider: 'luks',
      control_location: 'front-end',
      cipher: 'aes-xts-plain64',
      key_size: 256,
    }
    assert.equal((await ask('POST', `/types/${type.id}/encryption`, { encryption })).status, 200)
    await ask('POST', '/types', { volume_type: { name: 'plain' } })

    const make = async (volume: object) => {
      const answer = await ask('POST', '/volumes', { volume: { size: 1, ...volume } })
      assert.equal(answer.status, 202, answer.text)
      const { body } = await ask('GET', `/volumes/${answer.body.volume.id}`)
      assert.equal(body.volume.status, 'available')
      return body.volume
    }
    const volume = await make({ volume_type: 'luks' })
    assert.equal(volume.encrypted, true)
    assert.equal(volume.encryption_key_id, fixedKeyId)
    assert.deepEqual((await ask('GET', `/volumes/${volume.id}/encryption`)).body, {
      encryption_key_id: fixedKeyId,
      ...encryption,
    })
    assert.equal((await make({ source_volid: volume.id })).encryption_key_id, fixedKeyId)
    const { snapshot } = (await ask('POST', '/snapshots', { snapshot: { volume_id: volume.id } })).body
    assert.equal((await make({ snapshot_id: snapshot.id })).encryption_key_id, fixedKeyId)

    const plain = await make({ volume_type: 'plain' })
    assert.equal(plain.encrypted, false)
    const refused = async (path: string, body: object) => {
      const answer = await ask('POST', path, body)
      assert.equal(answer.status, 400, answer.text)
    }
    await refused('/volumes', { volume: { size: 1, source_volid: plain.id, volume_type: 'luks' } })
    await refused('/volumes', { volume: { size: 1, source_volid: volume.id, volume_type: 'plain' } })
    await refused(`/volumes/${volume.id}/action`, {
      'os-retype': { new_type: 'plain', migration_policy: 'never' },
    })
    await refused(`/volumes/${plain.id}/action`, {
      'os-retype': { new_type: 'luks', migration_policy: 'never' },
    })
  })
})

import assert from 'node:assert/strict'
import type { Api } from '../support/api.ts'
import { volumeDigest } from '../support/volume-digest.ts'

/** A step of the client session that can be cut short. Nothing here knows who is killed, or when. */
export interface Step {
  /** Sends the request. It is rejected when the connection breaks. */
  begin(): Promise<unknown>
  /** What must hold when everything has settled, whether the request got its answer or not. */
  check(): Promise<void>
}

/** What the steps share: the APIs as they are now, and a volume and an image with the same bytes. */
export interface Stage {
  api(): Api
  readonly baseId: string
  readonly imageId: string
  readonly data: Uint8Array
  /** SHA-512 of `data`, in hexadecimal. */
  readonly sha512: string
}

interface Volume {
  readonly id: string
  readonly name: string
  readonly status: string
  readonly size: number
  readonly metadata: Readonly<Record<string, string>>
}

const connector = { initiator: 'iqn.1993-08.org.debian:01:crash', ip: '127.0.0.1', host: 'crash' }

/** Prepares each step on things of its own. */
export async function prepareSteps(stage: Stage): Promise<readonly Step[]> {
  return await Promise.all([
    creation(stage, 'empty', {}),
    creation(stage, 'from-image', { imageRef: stage.imageId }),
    creation(stage, 'clone', { source_volid: stage.baseId }),
    extension(stage),
    setting(stage),
    snapshot(stage),
    snapshotDeletion(stage),
    attachment(stage),
    detachment(stage),
    deletion(stage),
    upload(stage),
  ])
}

/** Waits until no volume and no snapshot is in the middle of something that is ours to end. */
export async function settled(api: Api): Promise<void> {
  const isBusy = ({ status }: { status: string }) => /ing$/.test(status) && status !== 'attaching' // a client's to end
  for (const resource of ['volumes', 'snapshots']) {
    await api.until(
      `the ${resource} to settle`,
      () => api.block('GET', `/${resource}/detail`),
      ({ status, body }) => status === 200 && !body[resource].some(isBusy),
    )
  }
}

const volumeOf = async ({ api }: Stage, id: string): Promise<Volume> =>
  (await api().block('GET', `/volumes/${id}`)).body.volume

async function make(stage: Stage, name: string, source: object): Promise<string> {
  const volume = { size: 1, name, ...source }
  const { status, body } = await stage.api().block('POST', '/volumes', { volume })
  assert.equal(status, 202, JSON.stringify(body))
  return body.volume.id
}

/** A volume of the step's own, with the bytes of the base. */
async function own(stage: Stage, name: string): Promise<string> {
  const id = await make(stage, name, { source_volid: stage.baseId })
  await stage.api().until(
    `${name} to be made`,
    () => stage.api().block('GET', `/volumes/${id}`),
    ({ body }) => body.volume.status === 'available',
  )
  return id
}

/** The volume can be used, and nothing that was acknowledged is lost. */
async function assertWhole(stage: Stage, id: string): Promise<void> {
  assert.equal((await volumeOf(stage, id)).status, 'available')
  assert.equal(await volumeDigest(stage.api(), id, stage.data.byteLength), stage.sha512)
}

async function creation(stage: Stage, name: string, source: object): Promise<Step> {
  let acceptedId: string | undefined
  return {
    async begin() {
      acceptedId = await make(stage, name, source)
    },
    async check() {
      const { body } = await stage.api().block('GET', `/volumes/detail?name=${name}`)
      const made: readonly Volume[] = body.volumes
      assert.ok(made.length <= 1)
      if (acceptedId !== undefined) assert.equal(made[0]?.id, acceptedId, `${name} was accepted`)
      for (const { id, status } of made) {
        assert.match(status, /^(available|error)$/, name)
        if (status === 'available' && name !== 'empty') await assertWhole(stage, id)
      }
    },
  }
}

async function extension(stage: Stage): Promise<Step> {
  const id = await own(stage, 'extended')
  let isAccepted = false
  return {
    async begin() {
      const body = { 'os-extend': { new_size: 2 } }
      isAccepted = (await stage.api().block('POST', `/volumes/${id}/action`, body)).status === 202
    },
    async check() {
      const { size } = await volumeOf(stage, id)
      assert.ok(isAccepted ? size === 2 : size <= 2, `${size} GiB`)
      await assertWhole(stage, id)
    },
  }
}

async function setting(stage: Stage): Promise<Step> {
  const id = await own(stage, 'before')
  let isDone = false
  return {
    async begin() {
      const volume = { name: 'after', metadata: { tier: 'gold' } }
      isDone = (await stage.api().block('PUT', `/volumes/${id}`, { volume })).status === 200
    },
    async check() {
      const { name, metadata } = await volumeOf(stage, id)
      if (isDone) assert.equal(name, 'after')
      assert.deepEqual(metadata, name === 'after' ? { tier: 'gold' } : {}, 'all of it is set, or nothing')
    },
  }
}

async function snapshot(stage: Stage): Promise<Step> {
  const id = await own(stage, 'snapshotted')
  return {
    begin: () => stage.api().block('POST', '/snapshots', { snapshot: { volume_id: id, name: 'cut' } }),
    async check() {
      const { body } = await stage.api().block('GET', '/snapshots/detail?name=cut')
      for (const { status } of body.snapshots) assert.match(status, /^(available|error)$/)
      await assertWhole(stage, id)
    },
  }
}

async function snapshotDeletion(stage: Stage): Promise<Step> {
  const id = await own(stage, 'snapshot-deleted')
  const { body } = await stage.api().block('POST', '/snapshots', { snapshot: { volume_id: id } })
  const path = `/snapshots/${body.snapshot.id}`
  await stage.api().until(
    'the snapshot to be made',
    () => stage.api().block('GET', path),
    (answer) => answer.body.snapshot.status === 'available',
  )
  return removal(stage, path, 'snapshot')
}

async function deletion(stage: Stage): Promise<Step> {
  return removal(stage, `/volumes/${await own(stage, 'deleted')}`, 'volume')
}

function removal(stage: Stage, path: string, key: 'snapshot' | 'volume'): Step {
  let isAccepted = false
  return {
    async begin() {
      isAccepted = (await stage.api().block('DELETE', path)).status === 202
    },
    async check() {
      const { status, body } = await stage.api().block('GET', path)
      if (isAccepted) assert.equal(status, 404, `accepted: ${JSON.stringify(body)}`)
      else if (status === 200) assert.equal(body[key].status, 'available')
    },
  }
}

const attach = (stage: Stage, id: string) =>
  stage.api().block('POST', '/attachments', { attachment: { volume_uuid: id, connector } }, '3.44')

/** Takes back what attachments the volume has, as a client would that retries: then it is as before. */
async function assertAttachable(stage: Stage, id: string): Promise<void> {
  const { body } = await stage.api().block('GET', `/attachments?volume_id=${id}`, undefined, '3.44')
  for (const { id: attachmentId } of body.attachments) {
    const path = `/attachments/${attachmentId}`
    assert.equal((await stage.api().block('DELETE', path, undefined, '3.44')).status, 200)
  }
  await assertWhole(stage, id) // it is attached for that, and detached
}

async function attachment(stage: Stage): Promise<Step> {
  const id = await own(stage, 'attached')
  let acceptedId: string | undefined
  return {
    async begin() {
      const { status, body } = await attach(stage, id)
      if (status === 200) acceptedId = body.attachment.id
    },
    async check() {
      const { status } = await volumeOf(stage, id)
      assert.match(status, /^(available|reserved|attaching)$/)
      if (acceptedId !== undefined) {
        const shown = await stage.api().block('GET', `/attachments/${acceptedId}`, undefined, '3.44')
        assert.equal(shown.status, 200, 'whoever was let in is still let in')
      }
      await assertAttachable(stage, id)
    },
  }
}

async function detachment(stage: Stage): Promise<Step> {
  const id = await own(stage, 'detached')
  const { body } = await attach(stage, id)
  const path = `/attachments/${body.attachment.id}`
  let isDone = false
  return {
    async begin() {
      isDone = (await stage.api().block('DELETE', path, undefined, '3.44')).status === 200
    },
    async check() {
      const { status } = await stage.api().block('GET', path, undefined, '3.44')
      if (isDone) assert.equal(status, 404)
      await assertAttachable(stage, id)
    },
  }
}

async function upload(stage: Stage): Promise<Step> {
  const wanted = { name: 'cut', disk_format: 'raw', container_format: 'bare' }
  const path = `/images/${(await stage.api().image('POST', '/images', wanted)).body.id}`
  const headers = { 'content-type': 'application/octet-stream' }
  const put = () => stage.api().image('PUT', `${path}/file`, stage.data, headers)
  let isDone = false
  return {
    async begin() {
      isDone = (await put()).status === 204
    },
    async check() {
      const { body } = await stage.api().until(
        'the image to settle',
        () => stage.api().image('GET', path),
        (answer) => answer.body.status !== 'saving',
      )
      if (isDone) assert.equal(body.status, 'active')
      if (body.status !== 'active') {
        assert.equal(body.status, 'queued')
        const again = await put()
        assert.equal(again.status, 204, JSON.stringify(again.body))
      }
      assert.equal((await stage.api().image('GET', path)).body.os_hash_value, stage.sha512)
      assert.equal((await stage.api().image('DELETE', path)).status, 204)
    },
  }
}

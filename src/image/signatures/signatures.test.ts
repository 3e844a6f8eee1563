import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { constants, randomBytes, sign } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { openDatabase } from '../../kernel/db/database.ts'
import { migrate } from '../../kernel/db/migrate.ts'
import { jobMigrations } from '../../kernel/jobs/migrations.ts'
import type { ImageTables } from '../db/tables.ts'
import { startTestService } from '../testing.ts'

const octets = { 'content-type': 'application/octet-stream' }
const certificateId = '5f5f5f5f-1111-4222-8333-444444444444'

test('a signed image is verified while it arrives, with the certificate that the key manager has', async () => {
  const scratch = await mkdtemp(join(tmpdir(), 'image-signature-'))
  const keyFile = join(scratch, 'key.pem')
  const certificateFile = join(scratch, 'certificate.der')
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=signer', '-days', '1'],
      ...['-keyout', keyFile, '-outform', 'DER', '-out', certificateFile],
    ],
    { stdio: 'ignore' },
  )
  const certificate = await readFile(certificateFile)
  const seen: (string | undefined)[] = []
  const barbican = createServer((request, response) => {
    seen.push(`${request.headers['x-auth-token']}`)
    if (request.url === `/v1/secrets/${certificateId}/payload`) response.end(certificate)
    else response.writeHead(404).end()
  })
  await new Promise<void>((resolve) => barbican.listen(0, '127.0.0.1', resolve))
  const { port } = barbican.address() as AddressInfo // it listens on TCP

  await using database = await openDatabase<ImageTables>('sqlite://')
  await migrate(database.kysely, 'jobs', jobMigrations)
  await using service = await startTestService(database, {
    conf: `[barbican]\nbarbican_endpoint = http://127.0.0.1:${port}\n`,
  })
  const data = randomBytes(300_000)
  const signature = sign('sha256', data, {
    key: await readFile(keyFile),
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_MAX_SIGN,
  }).toString('base64')
  const upload = async (properties: object, body = data) => {
    const image = {
      disk_format: 'raw',
      container_format: 'bare',
      img_signature: signature,
      img_signature_hash_method: 'SHA-256',
      img_signature_key_type: 'RSA-PSS',
      img_signature_certificate_uuid: certificateId,
      ...properties,
    }
    const { id } = (await service.call('alice', 'POST', '/v2/images', image)).json<{ id: string }>()
    const answer = await service.call('alice', 'PUT', `/v2/images/${id}/file`, Buffer.from(body), octets)
    const { status } = (await service.call('alice', 'GET', `/v2/images/${id}`)).json()
    return [answer.status, status]
  }
  assert.deepEqual(await upload({}), [204, 'active'])
  assert.deepEqual(seen, ['alice'], "with the requester's token")
  assert.deepEqual(await upload({}, randomBytes(300_000)), [400, 'queued'])
  assert.deepEqual(await upload({ img_signature: 'AAAA' }), [400, 'queued'])
  assert.deepEqual(await upload({ img_signature: 'not base64!' }), [400, 'queued'])
  assert.deepEqual(await upload({ img_signature_hash_method: 'MD5' }), [400, 'queued'])
  assert.deepEqual(await upload({ img_signature_hash_method: 'SHA-512' }), [400, 'queued'])
  assert.deepEqual(await upload({ img_signature_key_type: 'DSA' }), [400, 'queued'])
  assert.deepEqual(await upload({ img_signature_certificate_uuid: certificateId.replace('5f', '6f') }), [
    400,
    'queued',
  ])
  assert.equal(
    (await readdir(join(service.directory, 'images'))).length,
    1,
    'what is not verified is not kept',
  )
  barbican.closeAllConnections()
  barbican.close()
  await rm(scratch, { recursive: true })
})

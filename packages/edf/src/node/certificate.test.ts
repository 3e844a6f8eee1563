import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadCertificate, selfSigned } from './certificate.ts'

test('a self-signed certificate verifies with its own key and names the hosts it was made for', () => {
  const now = new Date('2026-01-02T03:04:05Z')
  const certificate = new X509Certificate(selfSigned(['localhost', '127.0.0.1'], now).cert)
  assert.equal(certificate.verify(certificate.publicKey), true)
  assert.equal(certificate.checkHost('localhost'), 'localhost')
  assert.equal(certificate.checkIP('127.0.0.1'), '127.0.0.1')
  assert.equal(certificate.checkHost('example.org'), undefined)
  assert.equal(certificate.ca, true)
  assert.equal(Date.parse(certificate.validFrom), now.getTime() - 86_400_000)
  assert.equal(new Date(certificate.validTo).getUTCFullYear(), 2035)
})

test('the certificate is made once and kept, its key readable by the owner only', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'edf-certificate-'))
  t.after(() => rm(directory, { recursive: true }))
  const first = await loadCertificate(directory, ['localhost'])
  assert.deepEqual(await loadCertificate(directory, ['localhost']), first)
  assert.equal((await stat(join(directory, 'tls.key'))).mode & 0o777, 0o600)
})

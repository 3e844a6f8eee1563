import assert from 'node:assert/strict'
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { BackendError, Misconfigured } from '../errors.ts'
import { Secret } from '../secret.ts'
import { hashPassword, pretendToVerifyPassword, verifyPassword } from './passwords.ts'
import { openSecretBox, secretBox } from './secret-box.ts'
import { randomToken, tokenDigest } from './tokens.ts'

test('a password verifies against its own hash and no other does', async () => {
  const password = new Secret('pässwörd $1')
  const hash = await hashPassword(password)
  assert.match(hash, /^\$scrypt\$ln=\d+,r=8,p=1\$/)
  assert.doesNotMatch(hash, /pässwörd/)
  assert.equal(await verifyPassword(password, hash), true)
  assert.equal(await verifyPassword(new Secret('pässwörd $2'), hash), false)
  assert.notEqual(await hashPassword(password), hash)
})

test('the vectors of RFC 7914 verify in passlib form', async () => {
  // section 12: P = "password", S = "NaCl", N = 1024, r = 8, p = 16, dkLen = 64
  const digest =
    'fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640'
  const base64 = (bytes: Buffer) => bytes.toString('base64').replace(/=+$/, '')
  const hash = `$scrypt$ln=10,r=8,p=16$${base64(Buffer.from('NaCl'))}$${base64(Buffer.from(digest, 'hex'))}`
  assert.equal(await verifyPassword(new Secret('password'), hash), true)
  assert.equal(await verifyPassword(new Secret('Password'), hash), false)
})

test('a hash of another form, or one that would cost too much, never verifies', async () => {
  const password = new Secret('x')
  for (const hash of ['', 'x', '$2b$12$abc', '$scrypt$ln=31,r=8,p=1$AAAA$AAAA', '$scrypt$ln=15,r=8,p=1$$']) {
    assert.equal(await verifyPassword(password, hash), false)
  }
  await pretendToVerifyPassword(password)
})

test('many passwords at once are checked in turn, and too many are turned away', async () => {
  const hash = `$scrypt$ln=4,r=8,p=1$c2FsdA$${'A'.repeat(43)}`
  const password = new Secret('x')
  const outcomes = await Promise.allSettled(Array.from({ length: 250 }, () => verifyPassword(password, hash)))
  const refused = outcomes.filter((outcome) => outcome.status === 'rejected')
  assert.equal(refused.length, 48)
  for (const outcome of refused) assert.ok(outcome.reason instanceof BackendError)
  assert.equal(await verifyPassword(password, hash), false) // the places are free again
})

test('tokens differ, and their digests find them again', () => {
  const tokens = new Set(Array.from({ length: 100 }, randomToken))
  assert.equal(tokens.size, 100)
  for (const token of tokens) assert.match(token, /^[\w-]{43}$/)
  assert.equal(tokenDigest('a'), tokenDigest('a'))
  assert.notEqual(tokenDigest('a'), tokenDigest('b'))
})

test('a secret comes back from its own place only, and only unchanged', () => {
  const box = secretBox(Buffer.alloc(32, 1))
  const encrypted = box.encrypt(new Secret('chap secret'), 'attachments:1')
  assert.doesNotMatch(encrypted, /chap/)
  assert.notEqual(encrypted, box.encrypt(new Secret('chap secret'), 'attachments:1'))
  assert.equal(box.decrypt(encrypted, 'attachments:1').reveal(), 'chap secret')
  assert.throws(() => box.decrypt(encrypted, 'attachments:2'), Misconfigured)
  assert.throws(() => secretBox(Buffer.alloc(32, 2)).decrypt(encrypted, 'attachments:1'), Misconfigured)
  const bytes = Buffer.from(encrypted.slice(3), 'base64')
  for (let index = 0; index < bytes.length; index++) {
    const changed = Buffer.from(bytes)
    changed[index] = (changed[index] ?? 0) ^ 1
    assert.throws(() => box.decrypt(`v1:${changed.toString('base64')}`, 'attachments:1'), Misconfigured)
  }
  for (const cut of ['', 'v1:', 'v2:AAAA', encrypted.slice(0, 20)]) {
    assert.throws(() => box.decrypt(cut, 'attachments:1'), Misconfigured)
  }
})

test('the key file is made once, private, and everybody gets the same key', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'emberglass-key-'))
  try {
    const file = join(directory, 'secret.key')
    const boxes = await Promise.all(Array.from({ length: 5 }, () => openSecretBox(file)))
    const encrypted = boxes[0]?.encrypt(new Secret('x'), 'p') ?? ''
    for (const box of boxes) assert.equal(box.decrypt(encrypted, 'p').reveal(), 'x')
    assert.equal((await openSecretBox(file)).decrypt(encrypted, 'p').reveal(), 'x')
    assert.equal((await stat(file)).mode & 0o777, 0o600)
    assert.deepEqual(await readdir(directory), ['secret.key'])

    const before = await readFile(file, 'utf8')
    await chmod(file, 0o640)
    await assert.rejects(openSecretBox(file), /chmod 600/)
    assert.equal(await readFile(file, 'utf8'), before)
    await chmod(file, 0o600)
    await writeFile(file, 'short\n')
    await assert.rejects(openSecretBox(file), /not a key/)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})

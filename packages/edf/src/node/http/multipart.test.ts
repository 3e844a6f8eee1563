import assert from 'node:assert/strict'
import { test } from 'node:test'
import { boundaryOf, readMultipart } from './multipart.ts'

const form = [
  'ignored',
  '--b0undary',
  'Content-Disposition: form-data; name="ecosystem"',
  '',
  'openstack',
  '--b0undary',
  'content-disposition: form-data; name="logs.tar.gz"; filename="/var/log/a b.tar.gz"',
  'Content-Type: application/octet-stream',
  '',
  '-first\r\n--b0undar\r\nsecond\r\n',
  '--b0undary',
  'Content-Disposition: form-data; name="empty"; filename=""',
  '',
  '',
  '--b0undary--',
  'ignored',
].join('\r\n')

async function* inChunks(text: string, size: number): AsyncGenerator<Buffer> {
  const bytes = Buffer.from(text)
  for (let offset = 0; offset < bytes.length; offset += size) yield bytes.subarray(offset, offset + size)
}

async function read(text: string, size: number) {
  const parts: { name: string; fileName: string | undefined; text: string }[] = []
  for await (const event of readMultipart(inChunks(text, size), 'b0undary')) {
    if (event.kind === 'part') parts.push({ name: event.name, fileName: event.fileName, text: '' })
    else {
      const part = parts.at(-1)
      assert.ok(part)
      part.text += event.bytes
    }
  }
  return parts
}

test('parts come out whole, however the body is cut', async () => {
  for (const size of [1, 2, 3, 7, 20, 1000]) {
    assert.deepEqual(
      await read(form, size),
      [
        { name: 'ecosystem', fileName: undefined, text: 'openstack' },
        { name: 'logs.tar.gz', fileName: '/var/log/a b.tar.gz', text: '-first\r\n--b0undar\r\nsecond\r\n' },
        { name: 'empty', fileName: '', text: '' },
      ],
      `chunks of ${size} bytes`,
    )
  }
})

test('a body that ends early or is no form is refused', async () => {
  await assert.rejects(read(form.slice(0, -20), 64), { http: 400 })
  await assert.rejects(read('just text', 4), { http: 400 })
  await assert.rejects(read('--b0undary\r\nX-Other: 1\r\n\r\nbody\r\n--b0undary--', 64), { http: 400 })
})

test('the boundary is read from the content type', () => {
  assert.equal(boundaryOf('multipart/form-data; boundary=abc'), 'abc')
  assert.equal(boundaryOf('Multipart/Form-Data; charset=utf-8; boundary="a b"'), 'a b')
  assert.equal(boundaryOf('application/json'), undefined)
})

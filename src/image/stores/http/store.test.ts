import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import type { Bytes } from '../../../kernel/bytes.ts'
import { uncancelled } from '../../../kernel/call.ts'
import { BackendError, Invalid, NotFound, Unsupported } from '../../../kernel/errors.ts'
import { HttpStore } from './store.ts'

const call = uncancelled()
const image = Buffer.from(Array.from({ length: 100_000 }, (_, index) => index % 251))

async function collect(bytes: Bytes): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of bytes) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** A web server of one image, and of ways that lead to it or not. */
async function withServer(
  body: (store: HttpStore, url: string, seen: string[]) => Promise<void>,
): Promise<void> {
  const seen: string[] = []
  const server = createServer((request, response) => {
    const { url = '', headers } = request
    seen.push(`${request.method} ${url} ${headers.range ?? ''} ${headers.authorization ?? ''}`.trim())
    const hop = /^\/hop\/(\d+)/.exec(url)
    if (url === '/broken') response.writeHead(503).end()
    else if (url === '/other') response.writeHead(307, { location: '/image' }).end()
    else if (url === '/astray') response.writeHead(302, { location: 'ftp://x/' }).end()
    else if (hop !== null) {
      const left = Number(hop[1])
      response
        .writeHead(left % 2 === 0 ? 301 : 302, { location: left > 1 ? `/hop/${left - 1}` : '/image' })
        .end()
    } else if (url === '/image' || url === '/whole') {
      const range = url === '/whole' ? null : /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '')
      const part = range === null ? image : image.subarray(Number(range[1]), Number(range[2]) + 1)
      response.writeHead(range === null ? 200 : 206, { 'content-length': part.byteLength }).end(part)
    } else response.writeHead(404).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo // it listens on TCP
  try {
    await using store = new HttpStore({ trust: { verify: true }, proxies: {} })
    await body(store, `http://127.0.0.1:${port}`, seen)
  } finally {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
}

test('an image is read where it lies, whole and in ranges, also from a server that knows no ranges', async () => {
  await withServer(async (store, url) => {
    assert.equal(await store.size(`${url}/image`, call), image.byteLength)
    assert.ok((await collect(store.get(`${url}/image`, undefined, call))).equals(image))
    for (const path of ['/image', '/whole']) {
      const range = { start: 70_000, end: 90_001 }
      assert.ok((await collect(store.get(url + path, range, call))).equals(image.subarray(70_000, 90_001)))
    }
    assert.equal((await collect(store.get(`${url}/image`, { start: 7, end: 7 }, call))).byteLength, 0)
  })
})

test('five redirects are followed, of the kinds 301 and 302 only', async () => {
  await withServer(async (store, url) => {
    assert.ok((await collect(store.get(`${url}/hop/5`, undefined, call))).equals(image))
    await assert.rejects(collect(store.get(`${url}/hop/6`, undefined, call)), Invalid)
    await assert.rejects(collect(store.get(`${url}/other`, undefined, call)), Invalid)
    await assert.rejects(collect(store.get(`${url}/astray`, undefined, call)), Invalid)
  })
})

test('what a server answers becomes an error of the kernel', async () => {
  await withServer(async (store, url) => {
    await assert.rejects(collect(store.get(`${url}/nothing`, undefined, call)), NotFound)
    await assert.rejects(store.size(`${url}/nothing`, call), NotFound)
    await assert.rejects(store.size(`${url}/broken`, call), Invalid)
    await assert.rejects(store.size('file:///etc/passwd', call), Invalid)
  })
  await using store = new HttpStore({ trust: { verify: true }, proxies: {} })
  await assert.rejects(store.size('http://127.0.0.1:1/x', call), Invalid)
  await assert.rejects(collect(store.get('http://127.0.0.1:1/x', undefined, call)), BackendError)
})

test('the password of a location goes to the server, and into no message', async () => {
  await withServer(async (store, url, seen) => {
    const location = url.replace('http://', 'http://user:p%40ss@')
    await store.size(`${location}/image`, call)
    assert.equal(seen.at(-1), `HEAD /image  Basic ${Buffer.from('user:p@ss').toString('base64')}`)
    await assert.rejects(store.size(`${location}/nothing`, call), (error) => !String(error).includes('ss@'))
  })
})

test('nothing is kept and nothing deleted', async () => {
  await withServer(async (store, url) => {
    await assert.rejects(store.put(), Unsupported)
    await store.delete()
    assert.equal(await store.size(`${url}/image`, call), image.byteLength)
  })
})

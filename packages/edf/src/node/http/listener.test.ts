import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, request as httpsRequest } from 'node:https'
import { connect } from 'node:net'
import { test } from 'node:test'
import { loadCertificate } from '../certificate.ts'
import { type Json, temporaryDirectory } from '../testing.ts'
import { RestListener } from './listener.ts'

/** Status and body of a GET over TLS, whatever the port is meant for. */
function overTls(port: number): Promise<[number | undefined, string]> {
  return new Promise((resolve, reject) => {
    const agent = new Agent({ rejectUnauthorized: false })
    httpsRequest({ host: '127.0.0.1', port, path: '/v2.2/system', agent }, async (response) => {
      let text = ''
      for await (const chunk of response) text += chunk
      resolve([response.statusCode, text])
    })
      .on('error', reject)
      .end()
  })
}

test('ports answer 503 until the node is ready, and both take TLS', async (t) => {
  const listener = new RestListener(await loadCertificate(await temporaryDirectory(t), ['127.0.0.1']))
  t.after(() => listener.close())
  const ports = await listener.listen('127.0.0.1', 0, 0)
  const login = () =>
    fetch(`http://127.0.0.1:${ports.http}/v2.2/login`, { method: 'PUT', body: 'x'.repeat(100_000) })
  const early = await login()
  assert.equal(early.status, 503)
  const body: Json = await early.json()
  assert.match(body.message, /REST server is still initializing/)
  assert.deepEqual([body.name, body.http, body.version], ['NotConnectedError', 503, 'v2.2'])
  listener.open((request, response) => {
    request.resume()
    response.end(`${request.method} ${request.url}`)
  })
  assert.equal(await (await login()).text(), 'PUT /v2.2/login')
  assert.deepEqual(await overTls(ports.https), [200, 'GET /v2.2/system'])
  assert.deepEqual(await overTls(ports.http), [200, 'GET /v2.2/system'])
  const silent = connect({ host: '127.0.0.1', port: ports.http })
  await once(silent, 'connect')
  await listener.close()
  await listener.close()
  if (!silent.closed) await once(silent, 'close')
  await assert.rejects(login())
})

import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { Type } from 'typebox'
import { createLogger, silentLogger } from '../log.ts'
import { createApiServer } from './api-server.ts'

test('every answer has a request id; a well-formed one of the client is kept', async () => {
  const app = createApiServer({ log: silentLogger() })
  app.get('/', async () => ({}))
  const own = await app.inject('/')
  assert.match(String(own.headers['x-openstack-request-id']), /^req-[0-9a-f-]{36}$/)
  const given = 'req-0f0e0d0c-0b0a-4908-8706-050403020100'
  const kept = await app.inject({ url: '/', headers: { 'x-openstack-request-id': given } })
  assert.equal(kept.headers['x-openstack-request-id'], given)
  const bad = await app.inject({ url: '/', headers: { 'x-openstack-request-id': 'req-1\nforged' } })
  assert.notEqual(bad.headers['x-openstack-request-id'], 'req-1\nforged')
  await app.close()
})

test('a request is logged once when it is answered, with its id and without the token', async () => {
  const lines: string[] = []
  const sink = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk))
      done()
    },
  })
  const app = createApiServer({ log: createLogger({ name: 'test' }, sink) })
  app.get('/things', async (request) => {
    request.log.info({ token: 'gAAAA', user: { password: 'hunter2' } }, 'seen')
    return {}
  })
  const answer = await app.inject({ url: '/things?a=b', headers: { 'x-auth-token': 'gAAAA' } })
  const written = lines.map((line) => JSON.parse(line))
  const [line, ...others] = written.filter((one) => one.msg === 'request')
  assert.deepEqual(others, [])
  assert.equal(line.requestId, answer.headers['x-openstack-request-id'])
  assert.equal(line.method, 'GET')
  assert.equal(line.url, '/things?a=b')
  assert.equal(line.status, 200)
  assert.doesNotMatch(lines.join(''), /gAAAA|hunter2/)
  assert.equal(written.find((one) => one.msg === 'seen').user.password, '•••')
  await app.close()
})

test('bodies are validated without changing their types, and bounded', async () => {
  const app = createApiServer({ log: silentLogger(), bodyLimit: 100 })
  const body = Type.Object({ size: Type.Integer() })
  app.post('/things', { schema: { body } }, async (request) => request.body)
  const send = (payload: object) => app.inject({ method: 'POST', url: '/things/', payload })
  assert.deepEqual((await send({ size: 1, extra: 'kept' })).json(), { size: 1, extra: 'kept' })
  assert.equal((await send({ size: '1' })).statusCode, 400)
  assert.equal((await send({ size: 1, extra: 'x'.repeat(100) })).statusCode, 413)
  await app.close()
})

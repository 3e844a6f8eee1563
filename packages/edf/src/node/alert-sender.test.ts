import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { AlertLog } from './alert-log.ts'
import { AlertSender, destinationPath, policyPath } from './alert-sender.ts'
import { Database } from './database/database.ts'
import { readSetting, writeSetting } from './resources/settings.ts'
import { temporaryDirectory } from './testing.ts'

const host = '127.0.0.1'
const failed = (description: string) => ({
  ...({ code: 'MEDIUM_FAILED', severity: 'critical', tenant: '/root', object_path: '/data' } as const),
  description,
})

async function bed(t: TestContext) {
  const database = new Database(join(await temporaryDirectory(t), 'metadata.sqlite'))
  const alerts = new AlertLog(database)
  const sender = new AlertSender(database, alerts, (error) => assert.fail(String(error)))
  t.after(async () => {
    await sender.close()
    database.close()
  })
  const setUp = (type: string, port: number) => {
    writeSetting(database, destinationPath, { type, host, port, facility: 'Local3' })
    writeSetting(database, policyPath, { enabled: true })
  }
  return { database, alerts, sender, setUp }
}

test('an alert is sent by syslog when it is raised, and when it is over; once each', async (t) => {
  const { alerts, sender, setUp, database } = await bed(t)
  const socket = createSocket('udp4').bind(0, host)
  await once(socket, 'listening')
  t.after(() => socket.close())
  const messages: string[] = []
  socket.on('message', (message) => messages.push(message.toString()))
  const received = async (count: number) => {
    while (messages.length < count) await once(socket, 'message', { signal: AbortSignal.timeout(30_000) })
  }
  alerts.raise(failed('gone'))
  await sender.look()
  assert.deepEqual(readSetting(database, destinationPath, {}), {}, 'nothing is sent that nobody asked for')

  setUp('syslog', socket.address().port)
  await sender.look()
  await received(1)
  alerts.raise(failed('still gone'))
  await sender.look()
  alerts.settle('MEDIUM_FAILED')
  await sender.look()
  await received(2)
  const [raised = '', cleared = ''] = messages
  assert.match(raised, /^<154>1 \S+Z \S+ emberglass-edf \d+ MEDIUM_FAILED - raised \S+ \/data: gone$/)
  assert.match(cleared, /^<157>1 .* cleared \S+ \/data: still gone$/)
  assert.equal(messages.length, 2)
  assert.equal(readSetting(database, destinationPath, { op_state: '' }).op_state, 'success')
})

test('over HTTP and TCP an alert is JSON; what a destination refuses comes again', async (t) => {
  const { alerts, sender, setUp, database } = await bed(t)
  const answers = [503, 200]
  const bodies: string[] = []
  const server = createHttpServer(async (request, response) => {
    bodies.push(await text(request))
    response.writeHead(answers.shift() ?? 200).end()
  }).listen(0, host)
  await once(server, 'listening')
  t.after(() => server.close())
  // Built-in servers listen on an address here, never on a pipe.
  const portOf = (listener: { address(): unknown }) => (listener.address() as AddressInfo).port
  setUp('http_post', portOf(server))
  alerts.raise(failed('gone'))
  await sender.look()
  assert.equal(readSetting(database, destinationPath, { op_state: '' }).op_state, 'failure')
  await sender.look()
  assert.equal(bodies.length, 1, 'a destination that failed is left alone for a while')
  const later = new AlertSender(database, alerts, () => undefined)
  await later.look()
  assert.equal(JSON.parse(bodies[1] ?? '').description, 'gone')

  const listener = createServer({ allowHalfOpen: false }).listen(0, host)
  await once(listener, 'listening')
  t.after(() => listener.close())
  const line = once(listener, 'connection').then(([socket]) => text(socket))
  setUp('tcp_socket', portOf(listener))
  alerts.settle('MEDIUM_FAILED')
  await later.look()
  await later.close()
  const sent = await line
  assert.deepEqual([JSON.parse(sent).cleared, sent.endsWith('\n')], [true, true])
})

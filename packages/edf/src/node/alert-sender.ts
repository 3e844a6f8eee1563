import { createSocket } from 'node:dgram'
import { request } from 'node:http'
import { connect } from 'node:net'
import { hostname } from 'node:os'
import type { Alert } from '../schemas/event.ts'
import type { AlertLog } from './alert-log.ts'
import type { Database } from './database/database.ts'
import { readSetting, writeSetting } from './resources/settings.ts'
import { timestampOf } from './snapshot-clock.ts'

/** Where alerts go, as `/monitoring/destinations/default` keeps it. */
interface Destination {
  readonly type?: 'syslog' | 'http_post' | 'tcp_socket'
  readonly host?: string
  readonly port?: number
  readonly facility?: string
}

export const destinationPath = '/monitoring/destinations/default'
export const policyPath = '/monitoring/policies/default'

const lookMs = 5_000
/** A destination that failed is left alone for this long. */
const pauseMs = 60_000
const patienceMs = 5_000
/** Alerts that are sent in one go. */
const batch = 100
const defaultPort = 514

/**
 * Tells the monitoring destination of every alert that is raised, and once more when it is over: by syslog (RFC 5424, over
 * UDP), as a JSON body of an HTTP POST, or as a line of JSON over TCP. Only while the monitoring policy is enabled. What
 * could not be sent is sent later; an alert may arrive twice, never not at all (but for what UDP loses).
 */
export class AlertSender {
  readonly #database: Database
  readonly #alerts: AlertLog
  readonly #timer: NodeJS.Timeout
  #running: Promise<void> | undefined
  /** The destination that failed last, and when it is tried again. */
  #failed = { to: '', retryAt: 0 }

  constructor(database: Database, alerts: AlertLog, failed: (error: unknown) => void) {
    this.#database = database
    this.#alerts = alerts
    this.#timer = setInterval(() => void this.look().catch(failed), lookMs)
    this.#timer.unref()
  }

  /** Sends what has not been sent yet. */
  async look(): Promise<void> {
    this.#running ??= this.#sendAll().finally(() => {
      this.#running = undefined
    })
    await this.#running
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#running?.catch(() => undefined)
  }

  async #sendAll(): Promise<void> {
    if (!this.#isEnabled()) return
    const destination = readSetting<Destination>(this.#database, destinationPath, {})
    const to = `${destination.type} ${destination.host} ${destination.port}`
    if (!destination.host || (to === this.#failed.to && performance.now() < this.#failed.retryAt)) return
    for (const alert of this.#alerts.untold(batch)) {
      try {
        await send(destination, alert)
      } catch {
        this.#failed = { to, retryAt: performance.now() + pauseMs }
        this.#note({ op_state: 'failure' })
        return
      }
      this.#alerts.told(alert)
      this.#note({ op_state: 'success', last_msg_ts: timestampOf(new Date()) })
    }
  }

  /** An empty list of destinations stands for the only one there is. */
  #isEnabled(): boolean {
    const policy = readSetting<{ enabled?: boolean; destinations?: string[] }>(this.#database, policyPath, {})
    const { enabled = false, destinations = [] } = policy
    return enabled && (destinations.length === 0 || destinations.some((one) => one.endsWith('default')))
  }

  #note(state: object): void {
    // Somebody may have changed it meanwhile.
    const destination = readSetting<object>(this.#database, destinationPath, {})
    writeSetting(this.#database, destinationPath, { ...destination, ...state })
  }
}

async function send({ type = 'syslog', host = '', port = defaultPort, facility }: Destination, alert: Alert) {
  const json = JSON.stringify(alert)
  if (type === 'http_post') await post(host, port, json)
  else if (type === 'tcp_socket') await sendLine(host, port, `${json}\n`)
  else await sendDatagram(host, port, syslogMessage(alert, facility))
}

/** RFC 5424, section 6. `Local0` is facility 16; an alert that is over has the severity "notice". */
export function syslogMessage(alert: Alert, facility = 'Local0'): string {
  const severity = alert.cleared ? 5 : alert.severity === 'critical' ? 2 : 4
  const priority = (16 + Number(facility.slice(-1))) * 8 + severity
  const time = new Date().toISOString()
  const state = alert.cleared ? 'cleared' : 'raised'
  const text = `${state} ${alert.uuid} ${alert.object_path}: ${alert.description}`
  return `<${priority}>1 ${time} ${hostname()} emberglass-edf ${process.pid} ${alert.code} - ${text}`
}

function post(host: string, port: number, body: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    const sent = request({ host, port, method: 'POST', path: '/', headers, timeout: patienceMs })
    sent.on('timeout', () => sent.destroy(new Error('the destination does not answer')))
    sent.on('error', reject)
    sent.on('response', (answer) => {
      answer.resume()
      const { statusCode = 0 } = answer
      if (statusCode >= 200 && statusCode < 300) resolve()
      else reject(new Error(`the destination answered ${statusCode}`))
    })
    sent.end(body)
  })
}

function sendLine(host: string, port: number, line: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port })
    socket.setTimeout(patienceMs, () => socket.destroy(new Error('the destination does not answer')))
    socket.on('error', reject)
    socket.on('connect', () => socket.end(line))
    socket.on('close', (hadError) => (hadError ? undefined : resolve()))
    socket.resume()
  })
}

function sendDatagram(host: string, port: number, message: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
    socket.on('error', reject)
    socket.send(message, port, host, (error) => {
      socket.close()
      if (error === null) resolve()
      else reject(error)
    })
  })
}

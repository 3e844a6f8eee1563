import { randomUUID } from 'node:crypto'
import type { Config } from '../config/config.ts'
import { list, multiple, optionalText } from '../config/options.ts'
import { Misconfigured } from '../errors.ts'
import type { Logger } from '../log.ts'
import { Webhook } from './webhook.ts'

const messagingOptions = {
  drivers: multiple('driver', {
    help: 'Where notifications go: log, webhook, or nowhere. Message queues are not supported.',
  }),
  webhookUrl: optionalText('webhook_url', {
    help: 'Where the driver webhook POSTs each notification as JSON, in the envelope of oslo.messaging.',
  }),
}
const defaultOptions = {
  disabled: list('disabled_notifications', { help: 'Types of events, or their groups, that are not told.' }),
}

/** Tells others what has happened, in upstream's types of events and payloads. Nobody waits for it. */
export class Notifier implements AsyncDisposable {
  readonly #log: Logger
  readonly #toLog: boolean
  readonly #webhook: Webhook | undefined
  readonly #disabled: readonly string[]

  /** @throws Misconfigured when the webhook has no URL, or one that is not http */
  constructor(config: Config, log: Logger) {
    const { drivers, webhookUrl } = config.read('oslo_messaging_notifications', messagingOptions)
    this.#disabled = config.read('DEFAULT', defaultOptions).disabled
    this.#log = log
    this.#toLog = drivers.includes('log')
    this.#webhook = drivers.includes('webhook') ? new Webhook(checkedUrl(webhookUrl), log) : undefined
    for (const driver of drivers) {
      if (['log', 'webhook', 'noop'].includes(driver)) continue
      log.warn({ driver }, 'notifications cannot be sent that way: there are the drivers log and webhook')
    }
  }

  /** Whether anybody is told of events of this type. */
  tells(eventType: string): boolean {
    if (!this.#toLog && this.#webhook === undefined) return false
    const group = eventType.split('.', 1)[0] ?? ''
    return !this.#disabled.includes(eventType) && !this.#disabled.includes(group)
  }

  /**
   * Never throws.
   * @param eventType `volume.create.start`
   * @param publisherId who tells: `volume.node@datera`
   */
  emit(eventType: string, publisherId: string, payload: Readonly<Record<string, unknown>>): void {
    if (!this.tells(eventType)) return
    if (this.#toLog) this.#log.info({ eventType, publisherId, payload }, 'notification')
    this.#webhook?.enqueue({
      message_id: randomUUID(),
      publisher_id: publisherId,
      event_type: eventType,
      priority: 'INFO',
      payload,
      timestamp: new Date().toISOString(),
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#webhook?.[Symbol.asyncDispose]()
  }
}

function checkedUrl(text: string | undefined): string {
  const url = text === undefined ? null : URL.parse(text)
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url.href
  throw new Misconfigured(
    '[oslo_messaging_notifications] webhook_url: the driver webhook needs an http or https URL.',
    { details: { option: 'webhook_url' } },
  )
}

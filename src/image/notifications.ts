import type { Config } from '../kernel/config/config.ts'
import { list, multiple, text } from '../kernel/config/options.ts'
import type { Logger } from '../kernel/log.ts'

const messagingOptions = {
  drivers: multiple('driver', {
    help: 'Where notifications go: log, or nowhere. Message queues are not supported.',
  }),
}
const defaultOptions = {
  disabled: list('disabled_notifications', { help: 'Types of events, or their groups, that are not told.' }),
  publisher: text('default_publisher_id', { default: 'image.localhost', help: 'Who tells.' }),
}

/**
 * Tells the log what has happened to images, members, tasks and metadata definitions, in the types and payloads
 * that upstream puts on its message queue.
 * @see image-api specification 10.6
 */
export class Notifications {
  readonly #log: Logger
  readonly #isOn: boolean
  readonly #disabled: readonly string[]
  readonly #publisher: string

  constructor(config: Config, log: Logger) {
    const { drivers } = config.read('oslo_messaging_notifications', messagingOptions)
    const { disabled, publisher } = config.read('DEFAULT', defaultOptions)
    this.#isOn = drivers.includes('log')
    this.#disabled = disabled
    this.#publisher = publisher
    this.#log = log
    for (const driver of drivers) {
      if (['log', 'noop'].includes(driver)) continue
      log.warn({ driver }, 'notifications cannot be sent that way: only the driver log is there')
    }
  }

  /** @param eventType `image.create`. Never throws, and nobody waits for it. */
  emit(eventType: string, payload: Readonly<Record<string, unknown>>): void {
    const group = eventType.split('.', 1)[0] ?? ''
    if (!this.#isOn || this.#disabled.includes(eventType) || this.#disabled.includes(group)) return
    this.#log.info({ eventType, publisherId: this.#publisher, payload }, 'notification')
  }
}

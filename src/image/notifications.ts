import type { Config } from '../kernel/config/config.ts'
import { text } from '../kernel/config/options.ts'
import type { Logger } from '../kernel/log.ts'
import { Notifier } from '../kernel/notifications/notifier.ts'

const options = {
  publisher: text('default_publisher_id', { default: 'image.localhost', help: 'Who tells.' }),
}

/**
 * Tells what has happened to images, members, tasks and metadata definitions, in the types and payloads that upstream
 * puts on its message queue.
 * @see image-api specification 10.6
 */
export class Notifications implements AsyncDisposable {
  readonly #notifier: Notifier
  readonly #publisher: string

  /** @throws Misconfigured as `Notifier` */
  constructor(config: Config, log: Logger) {
    this.#notifier = new Notifier(config, log)
    this.#publisher = config.read('DEFAULT', options).publisher
  }

  /** @param eventType `image.create`. Never throws, and nobody waits for it. */
  emit(eventType: string, payload: Readonly<Record<string, unknown>>): void {
    this.#notifier.emit(eventType, this.#publisher, payload)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#notifier[Symbol.asyncDispose]()
  }
}

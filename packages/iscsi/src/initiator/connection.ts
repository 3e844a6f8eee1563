import { connect, type Socket } from 'node:net'
import { IscsiError } from '../errors.ts'
import { framePdu, PduReceiver, type PduSink } from './pdu-receiver.ts'

/** Where a target listens. */
export interface Portal {
  /** Name or address; IPv6 without brackets. */
  readonly host: string
  readonly port: number
}

/** Who owns a connection: takes its PDUs and hears when it ends. */
export interface ConnectionOwner extends PduSink {
  /** Called once, with the reason; nothing is received afterwards. */
  closed(error: Error): void
}

/** Bytes of the receive buffer: larger ones measured no better. */
const receiveBytes = 64 * 1024

/**
 * One TCP connection that carries PDUs. Bytes are received into one reused buffer and copied once; what is sent
 * in one turn of the event loop leaves in one system call, uncopied.
 */
export class Connection {
  readonly portal: Portal
  /** Framing of what is received; the login sets its digests and its longest data segment. */
  readonly receiver: PduReceiver
  /** When bytes last arrived, as `performance.now()`. */
  lastReceivedAt = performance.now()
  #owner: ConnectionOwner | undefined
  readonly #socket: Socket
  #closed = false
  #corked = false

  private constructor(portal: Portal) {
    this.portal = portal
    this.receiver = new PduReceiver({
      destination: (header, length) => this.#owner?.destination(header, length),
      received: (header, data) => {
        // The rest of a chunk may hold further PDUs of a connection that has just been given up.
        if (!this.#closed) this.#owner?.received(header, data)
      },
    })
    const buffer = Buffer.allocUnsafeSlow(receiveBytes)
    this.#socket = connect({
      host: portal.host,
      port: portal.port,
      noDelay: true,
      onread: {
        buffer,
        callback: (bytes) => {
          this.#received(buffer, bytes)
          return true
        },
      },
    })
  }

  /**
   * Connects without an owner: give it one at once, before the target can have anything to say.
   * @throws IscsiError `timeout` or `closed` when the portal does not answer; the signal's reason when cancelled
   */
  static async connect(portal: Portal, timeoutMs: number, signal: AbortSignal): Promise<Connection> {
    signal.throwIfAborted()
    const connection = new Connection(portal)
    const socket = connection.#socket
    try {
      await new Promise<void>((resolve, reject) => {
        const onAbort = () => reject(signal.reason)
        const timer = setTimeout(() => {
          const what = `timed out after ${timeoutMs} ms waiting for a connection to ${nameOf(portal)}`
          reject(new IscsiError('timeout', what))
        }, timeoutMs)
        const settle = () => {
          clearTimeout(timer)
          signal.removeEventListener('abort', onAbort)
        }
        signal.addEventListener('abort', onAbort, { once: true })
        socket.once('connect', () => {
          settle()
          resolve()
        })
        socket.once('error', (cause) => {
          settle()
          const what = `cannot connect to ${nameOf(portal)}: ${cause.message}`
          reject(new IscsiError('closed', what, { cause }))
        })
      })
    } catch (error) {
      socket.on('error', () => {})
      socket.destroy()
      throw error
    }
    socket.on('error', (cause) => {
      const what = `the connection to ${nameOf(portal)} failed: ${cause.message}`
      connection.close(new IscsiError('closed', what, { cause }))
    })
    socket.on('end', () => connection.close(new IscsiError('closed', `${nameOf(portal)} hung up`)))
    socket.on('close', () => connection.close(new IscsiError('closed', `${nameOf(portal)} hung up`)))
    return connection
  }

  /** The owner may change while the connection lives: the login's first, then the session's. */
  set owner(owner: ConnectionOwner) {
    this.#owner = owner
  }

  get isClosed(): boolean {
    return this.#closed
  }

  /** The address of this end, as the target sees it. */
  get localAddress(): string | undefined {
    return this.#socket.localAddress
  }

  /**
   * Sends one PDU. The data is not copied: it must stay as it is until the target has answered.
   * @param header 48 bytes with the length of `data` in it
   */
  send(header: Buffer, data?: Uint8Array): void {
    if (this.#closed) return
    if (!this.#corked) {
      this.#corked = true
      this.#socket.cork()
      process.nextTick(() => {
        this.#corked = false
        this.#socket.uncork()
      })
    }
    const { headerDigest, dataDigest } = this.receiver
    for (const part of framePdu(header, data, headerDigest, dataDigest)) this.#socket.write(part)
  }

  /** Sends what is still queued, then hangs up; a target that does not take it is left after a second. */
  end(): void {
    if (this.#closed) return
    this.#closed = true
    this.#socket.end()
    const timer = setTimeout(() => this.#socket.destroy(), 1000)
    timer.unref()
    this.#socket.once('close', () => clearTimeout(timer))
  }

  /** Hangs up at once and tells the owner why. */
  close(error: Error): void {
    if (this.#closed) return
    this.#closed = true
    this.#socket.destroy()
    this.#owner?.closed(error)
  }

  #received(chunk: Buffer, bytes: number): void {
    if (this.#closed) return
    this.lastReceivedAt = performance.now()
    try {
      this.receiver.push(chunk, bytes)
    } catch (error) {
      this.close(error instanceof Error ? error : new IscsiError('protocol', String(error)))
    }
  }
}

/** `host:port`, for messages. */
export function nameOf(portal: Portal): string {
  return portal.host.includes(':') ? `[${portal.host}]:${portal.port}` : `${portal.host}:${portal.port}`
}

/**
 * Reads `host:port` or `[v6]:port`, with or without `,tag` behind, as in `TargetAddress` (RFC 7143 section 13.8); the
 * port is 3260 when it is left out.
 * @returns undefined when it is no portal
 */
export function parsePortal(text: string): (Portal & { readonly groupTag?: number }) | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:,[\]]+))(?::(\d{1,5}))?(?:,(\d{1,5}))?$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  if (match === null || host === undefined) return undefined
  const port = match[3] === undefined ? 3260 : Number(match[3])
  if (port < 1 || port > 65535) return undefined
  return match[4] === undefined ? { host, port } : { host, port, groupTag: Number(match[4]) }
}

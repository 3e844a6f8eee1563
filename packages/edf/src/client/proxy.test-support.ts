import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A request as the proxy sees it. */
export interface SeenRequest {
  readonly method: string
  /** With version prefix and query. */
  readonly path: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string
  /** How many requests came before this one. */
  readonly number: number
}

/**
 * What becomes of a request: it passes; the connection breaks before the array sees it, or after the array has
 * carried it out; or the proxy answers itself.
 */
export type Fate =
  | 'pass'
  | 'break before'
  | 'break after'
  | { readonly status: number; readonly body: unknown }

/** An HTTP proxy in front of an array that misbehaves on command. For tests only. */
export class MisbehavingProxy implements AsyncDisposable {
  readonly seen: SeenRequest[] = []
  /** Decides each request's fate. */
  decide: (request: SeenRequest) => Fate = () => 'pass'
  readonly #target: URL
  readonly #server = createServer((incoming, outgoing) => {
    this.#handle(incoming, outgoing).catch(() => outgoing.destroy())
  })

  private constructor(target: string) {
    this.#target = new URL(target)
  }

  static async start(target: string): Promise<MisbehavingProxy> {
    const proxy = new MisbehavingProxy(target)
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get port(): number {
    // A listening TCP server has an address of this form.
    return (this.#server.address() as AddressInfo).port
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of incoming) chunks.push(chunk)
    const body = Buffer.concat(chunks)
    const seen: SeenRequest = {
      method: incoming.method ?? '',
      path: incoming.url ?? '',
      headers: incoming.headers,
      body: body.toString('utf8'),
      number: this.seen.length,
    }
    this.seen.push(seen)
    const fate = this.decide(seen)
    if (fate === 'break before') {
      outgoing.destroy()
      return
    }
    if (typeof fate === 'object') {
      outgoing.writeHead(fate.status, { 'content-type': 'application/json' })
      outgoing.end(JSON.stringify(fate.body))
      return
    }
    const answer = await this.#forward(seen, body)
    if (fate === 'break after') {
      outgoing.destroy()
      return
    }
    outgoing.writeHead(answer.status, { 'content-type': 'application/json' })
    outgoing.end(answer.body)
  }

  #forward(seen: SeenRequest, body: Buffer): Promise<{ status: number; body: Buffer }> {
    return new Promise((resolve, reject) => {
      const forwarded = request(
        {
          host: this.#target.hostname,
          port: this.#target.port,
          method: seen.method,
          path: seen.path,
          headers: { ...seen.headers, host: this.#target.host },
        },
        (response) => {
          const chunks: Buffer[] = []
          response.on('data', (chunk: Buffer) => chunks.push(chunk))
          response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) }))
          response.on('error', reject)
        },
      )
      forwarded.on('error', reject)
      forwarded.end(body)
    })
  }
}

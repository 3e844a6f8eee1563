import type { RequestListener, Server } from 'node:http'
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { type ErrorBody, errorCodes } from '../../schemas/error.ts'
import type { Certificate } from '../certificate.ts'
import { EdfNodeStartError, errorCode, messageOf } from '../errors.ts'

// Importing `node:http` as an ES module would load the fetch inside it: 40 ms and 5 MB of every start.
const { createServer: createHttpServer } = process.getBuiltinModule('node:http')

/** First byte of a TLS connection: a handshake record (RFC 8446, section 5.1). */
const tlsHandshake = 0x16
const keepAliveMs = 75_000
/** How long a connection may keep its first byte to itself, milliseconds. */
const silenceMs = 60_000

/**
 * The ports of the REST interface. They are open as soon as the node is sure to start, and answer 503 until
 * everything behind them is ready: clients then wait, instead of giving up on a closed port. The port for http takes
 * TLS too, because one client switches to it without changing the port.
 */
export class RestListener {
  readonly #http: Server
  readonly #https: HttpsServer
  #serve: RequestListener = refuseForNow
  /** Connections to the http port that have not sent anything yet. */
  readonly #silent = new Set<Socket>()

  constructor(certificate: Certificate) {
    const listener: RequestListener = (request, response) => this.#serve(request, response)
    this.#http = createHttpServer(listener)
    this.#https = createHttpsServer(
      { key: certificate.key, cert: certificate.cert, requestCert: true, rejectUnauthorized: false },
      listener,
    )
    this.#http.keepAliveTimeout = keepAliveMs
    this.#https.keepAliveTimeout = keepAliveMs
    this.#sortConnections()
  }

  /** @returns the ports, which differ from those asked for when these are 0. @throws EdfNodeStartError taken */
  async listen(host: string, httpPort: number, httpsPort: number): Promise<{ http: number; https: number }> {
    return {
      http: await bind(this.#http, host, httpPort),
      https: await bind(this.#https, host, httpsPort),
    }
  }

  /** From now on requests are served. */
  open(serve: RequestListener): void {
    this.#serve = serve
  }

  /** Lets running requests end, for at most `graceMs`. */
  async close(graceMs = 3000): Promise<void> {
    const closing = [this.#http, this.#https].map((server) => closeServer(server, graceMs))
    for (const socket of this.#silent) socket.destroy()
    await Promise.all(closing)
  }

  /** Looks at the first byte of each connection to the http port. */
  #sortConnections(): void {
    const plain = this.#http.listeners('connection')
    this.#http.removeAllListeners('connection')
    this.#http.on('connection', (socket: Socket) => {
      const giveUp = () => socket.destroy()
      const endings = ['timeout', 'error', 'end'] as const
      for (const ending of endings) socket.on(ending, giveUp)
      socket.once('close', () => this.#silent.delete(socket))
      socket.setTimeout(silenceMs)
      this.#silent.add(socket)
      socket.once('data', (bytes) => {
        socket.pause()
        socket.setTimeout(0)
        for (const ending of endings) socket.off(ending, giveUp)
        this.#silent.delete(socket)
        socket.unshift(bytes)
        if (bytes[0] === tlsHandshake) {
          // TLS takes what was put back, and then reads for itself.
          this.#https.emit('connection', socket)
          return
        }
        for (const listener of plain) Reflect.apply(listener, this.#http, [socket])
        socket.resume()
      })
    })
  }
}

function bind(server: Server | HttpsServer, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const code = errorCode(error) ?? 'EIO'
      const reason = code === 'EADDRINUSE' ? 'the port is taken' : messageOf(error)
      reject(new EdfNodeStartError(code, `cannot listen on ${host}:${port}: ${reason}`, error))
    })
    // A TCP server that listens has an address with a port.
    server.listen(port, host, () => resolve((server.address() as AddressInfo).port))
  })
}

function closeServer(server: Server | HttpsServer, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), graceMs)
    server.close(() => {
      clearTimeout(timer)
      resolve()
    })
    server.closeIdleConnections()
  })
}

/** The text is one that the Python SDK waits for, whatever the status. */
const refuseForNow: RequestListener = (request, response) => {
  const body: ErrorBody = {
    name: 'NotConnectedError',
    code: errorCodes.notConnected,
    http: 503,
    message: 'The REST server is still initializing',
    debug: '',
    ts: new Date().toISOString(),
    version: /^\/(v[\d.]+)/.exec(request.url ?? '')?.[1] ?? '',
    op: '',
    tenant: '',
    path: request.url ?? '',
    params: {},
    connInfo: {},
    client_id: '',
    client_type: '',
    tenancy_class: '',
    errors: [],
    schema: '',
  }
  // What is still coming of the request is read, so that the client gets to read the answer.
  request.resume()
  response.writeHead(503, { 'content-type': 'application/json', 'retry-after': '1' })
  response.end(JSON.stringify(body))
}

import { connect, createServer, type Socket } from 'node:net'

/** A TCP proxy that cuts its connections after so many bytes, to see who notices. */
export interface CuttingProxy extends AsyncDisposable {
  readonly port: number
  /** Connections that were cut so far. */
  readonly cuts: number
}

/**
 * @param to port on the loopback to pass bytes to
 * @param cutAfter bytes towards the target after which each connection is reset
 * @param maxCuts connections beyond these are left alone
 */
export async function startCuttingProxy(
  to: number,
  cutAfter: number,
  maxCuts: number,
): Promise<CuttingProxy> {
  let cuts = 0
  const sockets = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(to, '127.0.0.1')
    let passed = 0
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        near.destroy()
        far.destroy()
      })
    }
    near.on('data', (chunk: Buffer) => {
      passed += chunk.byteLength
      if (passed > cutAfter && cuts < maxCuts) {
        cuts += 1
        near.destroy()
        far.destroy()
      }
    })
    near.pipe(far)
    far.pipe(near)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    get cuts() {
      return cuts
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

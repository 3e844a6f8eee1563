import { once } from 'node:events'
import { createServer } from 'node:net'

/** Ten free ports in a row on loopback, below the range that the system hands out by itself. */
export async function freePortBlock(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const base = 11_000 + 10 * Math.floor(Math.random() * 2_000)
    const free = await Promise.all(Array.from({ length: 10 }, (_, index) => isFree(base + index)))
    if (free.every(Boolean)) return base
  }
  throw new Error('no ten free ports in a row were found')
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  try {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return true
  } catch {
    return false
  } finally {
    server.close()
  }
}

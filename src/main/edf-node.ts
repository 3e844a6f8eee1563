import { startEdfNode } from '@emberglass/edf/node'
import { messageOf } from '../kernel/errors.ts'
import { type NodeMessage, passwordVariable } from './edf-node-process.ts'
import { describeStartError } from './start-errors.ts'

/** A stop that takes longer is cut short: what was acknowledged is kept all the same. Milliseconds. */
const stopPatienceMs = 10_000

/** `emberglass edf-node`: alone in a shell, or as the child of `emberglass start`, which then gets messages. */
export async function runEdfNode(options: {
  directory: string
  host: string
  httpPort: number
  httpsPort: number
  iscsiPort: number
  productVersion?: string
  verbose?: boolean
}): Promise<void> {
  const password = process.env[passwordVariable]
  delete process.env[passwordVariable]
  const supervised = process.send !== undefined
  const tell = (message: NodeMessage) => process.send?.(message)

  const starting = startEdfNode({
    directory: options.directory,
    host: options.host,
    httpPort: options.httpPort,
    httpsPort: options.httpsPort,
    iscsi: { host: options.host, port: options.iscsiPort },
    ...(password === undefined ? {} : { adminPassword: password }),
    ...(options.productVersion === undefined ? {} : { productVersion: options.productVersion }),
    ...(options.verbose === undefined ? {} : { verbose: options.verbose }),
  })

  let stopping = false
  const stop = async () => {
    if (stopping) return
    stopping = true
    setTimeout(() => process.exit(1), stopPatienceMs).unref()
    try {
      await (await starting).close()
      process.exit(0)
    } catch (error) {
      process.stderr.write(`emberglass edf-node: ${messageOf(error)}\n`)
      process.exit(1)
    }
  }
  process.on('SIGTERM', stop)
  // Ctrl-C reaches the whole process group: the parent stops this child itself, after its own last write.
  process.on('SIGINT', supervised ? () => {} : stop)
  if (supervised) process.on('disconnect', stop)

  try {
    const node = await starting
    tell({ ready: true })
    if (!supervised) {
      process.stdout.write(`EDF node at ${node.httpUrl}${node.httpsUrl ? ` and ${node.httpsUrl}` : ''}\n`)
    }
  } catch (error) {
    const sentence = describeStartError(error)
    tell({ failed: sentence })
    process.stderr.write(`emberglass edf-node: ${sentence}\n`)
    process.exit(1)
  }
}

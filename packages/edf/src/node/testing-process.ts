import { startEdfNode } from './start.ts'

/** A node as a process of its own, for tests that kill it: `testing-process.ts <directory>`. Prints where it listens. */
const [directory = ''] = process.argv.slice(2)
const node = await startEdfNode({
  directory,
  host: '127.0.0.1',
  httpPort: 0,
  httpsPort: 0,
  iscsi: { host: '127.0.0.1', port: 0 },
})
process.stdout.write(`${JSON.stringify(node)}\n`)
process.on('SIGTERM', () => {
  void node.close().then(() => process.exit(0))
})

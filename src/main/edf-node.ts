import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type DataDirectory, type EdfNode, type LdapServer, startEdfNode } from '@emberglass/edf/node'
import { Misconfigured, messageOf } from '../kernel/errors.ts'
import { type NodeMessage, passwordVariable } from './edf-node-process.ts'
import { describeStartError } from './start-errors.ts'

/** A stop that takes longer is cut short: what was acknowledged is kept all the same. Milliseconds. */
const stopPatienceMs = 10_000

interface EdfNodeCommand {
  directory: string
  dataDirectory?: readonly DataDirectory[]
  host: string
  httpPort: number
  httpsPort: number
  iscsiPort: number
  iscsiAddress?: readonly string[]
  productVersion?: string
  ldapConfig?: string
  verbose?: boolean
}

/** `emberglass edf-node`: alone in a shell, or as the child of `emberglass start`, which then gets messages. */
export async function runEdfNode(options: EdfNodeCommand): Promise<void> {
  const password = process.env[passwordVariable]
  delete process.env[passwordVariable]
  const supervised = process.send !== undefined
  const tell = (message: NodeMessage) => process.send?.(message)

  const starting = start(options, password)

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
      process.stdout.write(`EDF node at ${node.httpUrl} and ${node.httpsUrl}, iSCSI at ${node.iscsiPortal}\n`)
      const file = join(options.directory, 'admin-password')
      process.stdout.write(`Log in as ${node.login}, with the password in ${file}\n`)
    }
  } catch (error) {
    const sentence = describeStartError(error)
    tell({ failed: sentence })
    process.stderr.write(`emberglass edf-node: ${sentence}\n`)
    process.exit(1)
  }
}

async function start(options: EdfNodeCommand, password: string | undefined): Promise<EdfNode> {
  return startEdfNode({
    directory: options.directory,
    ...(options.dataDirectory === undefined ? {} : { dataDirectories: options.dataDirectory }),
    host: options.host,
    httpPort: options.httpPort,
    httpsPort: options.httpsPort,
    iscsi: { host: options.host, port: options.iscsiPort },
    ...(options.iscsiAddress === undefined ? {} : { moreIscsiHosts: options.iscsiAddress }),
    ...(password === undefined ? {} : { adminPassword: password }),
    ...(options.productVersion === undefined ? {} : { productVersion: options.productVersion }),
    ...(options.ldapConfig === undefined ? {} : { ldapServers: await readLdapServers(options.ldapConfig) }),
    ...(options.verbose === undefined ? {} : { verbose: options.verbose }),
  })
}

/** The node checks what is in it. @throws Misconfigured when it is no JSON array */
async function readLdapServers(file: string): Promise<LdapServer[]> {
  try {
    const servers: unknown = JSON.parse(await readFile(file, 'utf8'))
    if (Array.isArray(servers)) return servers
  } catch (error) {
    throw new Misconfigured(`cannot read ${file}: ${messageOf(error)}`)
  }
  throw new Misconfigured(`${file} has to hold a JSON array of LDAP servers`)
}

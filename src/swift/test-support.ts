import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

/** A real Swift on loopback, which is also a real S3. */
export interface TestSwift {
  readonly authUrl: string
  /** `account:user`. */
  readonly user: string
  readonly key: string
  readonly s3: { readonly endpoint: string; readonly accessKey: string; readonly secretKey: string }
}

let starting: Promise<TestSwift> | undefined

/** Starts the shared test server, or finds it running. It is left running: other processes' tests use it too. */
export function testSwift(): Promise<TestSwift> {
  starting ??= start()
  return starting
}

async function start(): Promise<TestSwift> {
  const script = fileURLToPath(new URL('../../test/servers/swift-up.sh', import.meta.url))
  const stateDirectory = process.env['STATE_DIR'] ?? join(tmpdir(), 'emberglass-servers', 'swift')
  await mkdir(stateDirectory, { recursive: true })
  // --close: the server must not inherit, and so keep, the lock
  const lock = ['--close', '--wait', '180', join(stateDirectory, 'up.lock')]
  const { stdout } = await promisify(execFile)('flock', [...lock, 'bash', script], {
    timeout: 300_000,
    env: { ...process.env, STATE_DIR: stateDirectory },
  })
  const value = (name: string) => {
    const found = new RegExp(`^${name}=(.*)$`, 'm').exec(stdout)?.[1]
    if (found === undefined) throw new Error(`swift-up.sh printed no ${name}:\n${stdout}`)
    return found
  }
  return {
    authUrl: value('SWIFT_AUTH_URL'),
    user: value('SWIFT_USER'),
    key: value('SWIFT_KEY'),
    s3: {
      endpoint: value('SWIFT_S3_ENDPOINT'),
      accessKey: value('SWIFT_S3_ACCESS_KEY'),
      secretKey: value('SWIFT_S3_SECRET_KEY'),
    },
  }
}

/** The reason why Swift cannot be had here; undefined when it can. */
export function whyNoSwift(): string | undefined {
  if (existsSync('/usr/bin/swift-proxy-server')) return undefined
  if (process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) return undefined // the script installs it
  return 'Swift is not installed, and only root can install it (apt-get install swift-proxy)'
}

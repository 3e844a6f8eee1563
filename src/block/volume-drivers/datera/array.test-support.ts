import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type EdfNode, type EdfNodeOptions, startEdfNode } from '@emberglass/edf/node'
import { Secret } from '../../../kernel/secret.ts'
import type { VolumeBackend } from '../../volume-driver.ts'
import { DateraDriver } from './driver.ts'
import { type DateraSettings, dateraOptions } from './options.ts'

export const ourInitiator = 'iqn.2026-01.org.emberglass:test-service'

/** Settings as the options' defaults say. */
export function defaultSettings(): DateraSettings {
  const values = Object.entries(dateraOptions).map(([key, option]) => [key, option.default])
  // Sound: `dateraOptions` has exactly the properties of the settings, each with a default of its type.
  return Object.fromEntries(values) as DateraSettings
}

/** A storage node on free ports, in a directory of its own. For tests only. */
export class TestArray implements AsyncDisposable {
  readonly node: EdfNode
  readonly directory: string

  private constructor(node: EdfNode, directory: string) {
    this.node = node
    this.directory = directory
  }

  static async start(options: Partial<EdfNodeOptions> = {}): Promise<TestArray> {
    const directory = await mkdtemp(join(tmpdir(), 'emberglass-array-'))
    const node = await startEdfNode({
      directory,
      host: '127.0.0.1',
      httpPort: 0,
      httpsPort: 0,
      iscsi: { host: '127.0.0.1', port: 0 },
      ...options,
    })
    return new TestArray(node, directory)
  }

  settings(changes: Partial<DateraSettings> = {}): DateraSettings {
    return {
      ...defaultSettings(),
      host: '127.0.0.1',
      apiPort: Number(new URL(this.node.httpUrl).port),
      useSsl: false,
      login: this.node.login,
      password: new Secret(this.node.password),
      singleReplica: true,
      ...changes,
    }
  }

  driver(changes: Partial<DateraSettings> = {}, backend: Partial<VolumeBackend> = {}): DateraDriver {
    return new DateraDriver(this.settings(changes), {
      name: 'datera-1',
      volumeBackendName: 'datera',
      initiatorName: ourInitiator,
      stateDirectory: this.directory,
      ...backend,
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.node.close()
    await rm(this.directory, { recursive: true, force: true })
  }
}

/** What all iSCSI commands share: options, opening a disk, errors with a hint. */
import { IscsiError } from '@emberglass/iscsi/device'
import { type IscsiDisk, openIscsiDisk, type Portal, parsePortal } from '@emberglass/iscsi/initiator'
import { BackendError, Invalid, messageOf } from '../../kernel/errors.ts'
import { parseDiskUrl } from './url.ts'

export interface ConnectOptions {
  /** The name this initiator goes by. */
  readonly initiatorName: string
  /** Limit of each login and each command. */
  readonly timeoutSeconds: number
  readonly headerDigest: boolean
  readonly dataDigest: boolean
  /** Further portals of the target, `host[:port]`: used when the first fails. */
  readonly portal: readonly string[]
}

/** Opens the disk of a URL, for as long as `work` runs; Ctrl-C ends it in an orderly way. */
export async function withDisk<Result>(
  url: string,
  options: ConnectOptions & { readonly readOnly: boolean; readonly queueDepth?: number },
  work: (disk: IscsiDisk, signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const { portal, chap, targetName, lun } = parseDiskUrl(url, process.env)
  return withSignal(async (signal) => {
    const { queueDepth, readOnly } = options
    await using disk = await openIscsiDisk(
      {
        portals: [portal, ...options.portal.map(portalOf)],
        targetName,
        lun,
        initiatorName: options.initiatorName,
        timeoutMs: options.timeoutSeconds * 1000,
        headerDigest: options.headerDigest,
        dataDigest: options.dataDigest,
        readOnly,
        ...(chap === undefined ? {} : { chap }),
        ...(queueDepth === undefined ? {} : { queueDepth }),
      },
      { signal },
    )
    return await work(disk, signal)
  })
}

/** Runs something that Ctrl-C ends. */
export async function withSignal<Result>(work: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
  const stop = new AbortController()
  const onInterrupt = () => stop.abort(new Invalid('interrupted'))
  process.once('SIGINT', onInterrupt)
  try {
    return await work(stop.signal)
  } catch (error) {
    throw withHint(error)
  } finally {
    process.off('SIGINT', onInterrupt)
  }
}

function portalOf(text: string): Portal {
  const portal = parsePortal(text)
  if (portal === undefined) throw new Invalid(`'${text}' is no portal: write host[:port]`)
  return { host: portal.host, port: portal.port }
}

/** What a person can do about it. */
function withHint(error: unknown): unknown {
  if (!(error instanceof IscsiError)) return error
  const hint =
    error.code === 'authentication'
      ? 'check the CHAP user and secret, and which of both sides has to prove itself'
      : error.statusClass === 2 && error.statusDetail === 2
        ? 'the target does not admit this initiator: see --initiator-name and its access list, or give CHAP secrets'
        : error.statusClass === 2 && error.statusDetail === 3
          ? 'no target has this name here: `emberglass iscsi discover` lists them'
          : undefined
  if (hint === undefined) return error
  return new BackendError(`${messageOf(error)} (${hint})`, { left: 'nothing', cause: error })
}

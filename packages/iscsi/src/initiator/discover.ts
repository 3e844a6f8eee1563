import { randomBytes } from 'node:crypto'
import type { Cancel } from '../block-device.ts'
import { IscsiError } from '../errors.ts'
import { type Chap, checkChap } from '../login/chap.ts'
import { encodeText, MAX_TEXT_BYTES, parseText } from '../login/text.ts'
import { type Portal, parsePortal } from './connection.ts'
import { logIn } from './login.ts'
import { Session } from './session.ts'
import { requestText } from './text-request.ts'

/** A target that a portal has told of. */
export interface DiscoveredTarget {
  readonly name: string
  readonly portals: readonly (Portal & { readonly groupTag?: number })[]
}

/** Who asks. */
export interface DiscoveryOptions {
  /** The name this initiator goes by (iqn.…). */
  readonly initiatorName: string
  /** As for `openIscsiDisk`. */
  readonly chap?: Chap
  /** Limit of the login, and of each answer. Default 15 s. */
  readonly timeoutMs?: number
}

const tickMs = 1000

/**
 * Asks a portal which targets there are (SendTargets, RFC 7143 appendix C).
 * @returns those this initiator may see, in the order in which they were sent
 * @throws IscsiError, as `openIscsiDisk`; the signal's reason when cancelled
 */
export async function discoverTargets(
  portal: Portal,
  options: DiscoveryOptions,
  cancel: Cancel,
): Promise<readonly DiscoveredTarget[]> {
  const { initiatorName, chap, timeoutMs = 15_000 } = options
  if (chap !== undefined) checkChap(chap)
  const isid = randomBytes(6)
  isid[0] = 0x80
  let session: Session | undefined
  const identity = chap === undefined ? { initiatorName } : { initiatorName, chap }
  await logIn(portal, identity, isid, timeoutMs, cancel.signal, (loggedIn) => {
    session = new Session(loggedIn, { roomFor: () => {}, repeat: () => {}, ended: () => {} }, 1)
  })
  if (session === undefined) throw new IscsiError('closed', 'the login ended without a session')
  const current = session
  const onAbort = () => current.drop(cancel.signal.reason)
  cancel.signal.addEventListener('abort', onAbort, { once: true })
  const ticker = setInterval(() => current.tick(performance.now()), tickMs)
  try {
    cancel.signal.throwIfAborted()
    const text = await requestText(
      current,
      encodeText([['SendTargets', 'All']]),
      timeoutMs,
      MAX_TEXT_BYTES * 16,
    )
    return targetsIn(text, portal)
  } finally {
    clearInterval(ticker)
    cancel.signal.removeEventListener('abort', onAbort)
    await current.logout()
  }
}

/** A target without an address of its own is at the portal that was asked. */
function targetsIn(text: Buffer, asked: Portal): DiscoveredTarget[] {
  const targets: { name: string; portals: (Portal & { readonly groupTag?: number })[] }[] = []
  for (const [key, value] of inPieces(text)) {
    if (key === 'TargetName') targets.push({ name: value, portals: [] })
    if (key !== 'TargetAddress') continue
    const portal = parsePortal(value)
    if (portal !== undefined) targets.at(-1)?.portals.push(portal)
  }
  for (const target of targets) if (target.portals.length === 0) target.portals.push(asked)
  return targets
}

/** The text parser takes so much at a time: cut behind a NUL. */
function* inPieces(text: Buffer): Generator<readonly [string, string]> {
  for (let at = 0; at < text.byteLength; ) {
    const limit = Math.min(text.byteLength, at + MAX_TEXT_BYTES)
    const end = limit === text.byteLength ? limit : text.lastIndexOf(0, limit - 1) + 1
    if (end <= at) throw new IscsiError('protocol', 'the target sent a name that is too long')
    yield* parseText(text.subarray(at, end))
    at = end
  }
}

/**
 * `iscsi://[user[%secret]@]host[:port]/target name/LUN`, as libiscsi and QEMU write it. The environment may hold the
 * secrets instead, under libiscsi's names, where other users of the machine cannot see them.
 */
import { type Chap, type Portal, parsePortal } from '@emberglass/iscsi/initiator'
import { Invalid } from '../../kernel/errors.ts'

export interface PortalUrl {
  readonly portal: Portal
  readonly chap?: Chap
}

export interface DiskUrl extends PortalUrl {
  readonly targetName: string
  readonly lun: number
}

export type Environment = Readonly<Record<string, string | undefined>>

/** @throws Invalid when it is no such URL; the message holds no secret */
export function parseDiskUrl(text: string, environment: Environment): DiskUrl {
  const url = split(text, environment)
  const [targetName = '', lun = '', ...rest] = url.path.split('/')
  if (targetName === '' || !/^\d{1,5}$/.test(lun) || rest.length > 0) {
    throw new Invalid('an iSCSI disk is written iscsi://[user[%secret]@]host[:port]/target name/LUN')
  }
  return { ...parts(url), targetName, lun: Number(lun) }
}

/** For discovery: what stands behind the portal does not matter. @throws Invalid */
export function parsePortalUrl(text: string, environment: Environment): PortalUrl {
  return parts(split(text, environment))
}

interface Split {
  readonly portal: Portal
  readonly chap: Chap | undefined
  readonly path: string
}

function parts({ portal, chap }: Split): PortalUrl {
  return chap === undefined ? { portal } : { portal, chap }
}

function split(text: string, environment: Environment): Split {
  const match = /^iscsi:\/\/(?:([^/]*)@)?([^/@?]+)(?:\/([^?]*))?(?:\?(.*))?$/.exec(text)
  const [, account, address = '', path = '', query] = match ?? []
  const portal = match ? parsePortal(address) : undefined
  if (portal === undefined) {
    throw new Invalid('an iSCSI portal is written iscsi://[user[%secret]@]host[:port]')
  }
  return {
    portal: { host: portal.host, port: portal.port },
    chap: chapOf(account, new URLSearchParams(query ?? ''), environment),
    path: decoded(path),
  }
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch (cause) {
    throw new Invalid('the target name in the URL is not encoded as a URL has it', { cause })
  }
}

function chapOf(
  account: string | undefined,
  query: URLSearchParams,
  environment: Environment,
): Chap | undefined {
  const percent = account?.indexOf('%') ?? -1
  const username =
    (percent < 0 ? account : account?.slice(0, percent)) || environment['LIBISCSI_CHAP_USERNAME']
  if (username === undefined || username === '') return undefined
  const password = percent < 0 ? environment['LIBISCSI_CHAP_PASSWORD'] : account?.slice(percent + 1)
  if (password === undefined) {
    throw new Invalid(`no secret for '${username}': write user%secret@, or set LIBISCSI_CHAP_PASSWORD`)
  }
  const targetUser = query.get('target_user') ?? environment['LIBISCSI_CHAP_TARGET_USERNAME']
  const targetPassword = query.get('target_password') ?? environment['LIBISCSI_CHAP_TARGET_PASSWORD']
  if (targetUser === undefined || targetPassword === undefined) return { username, password }
  return { username, password, mutual: { username: targetUser, password: targetPassword } }
}

import { type Auth, AuthInput } from '../../schemas/auth.ts'
import type { NodeContext } from '../context.ts'
import { validationFailed } from '../errors.ts'
import type { Route } from '../http/route.ts'
import { locateStorageInstance, storageInstancePath } from './locate.ts'

/** As it is stored: secrets in clear, because CHAP has to compute with them. */
export interface StoredAuth {
  readonly type: string
  /** What the initiator presents to the target. */
  readonly target_user_name: string
  readonly target_pswd: string
  /** What the target presents back. */
  readonly initiator_user_name: string
  readonly initiator_pswd: string
  readonly access_key?: string
  readonly secret_key?: string
}

export const noAuth: StoredAuth = {
  type: 'none',
  target_user_name: '',
  target_pswd: '',
  initiator_user_name: '',
  initiator_pswd: '',
}

const hidden = '(hidden)'
/** RFC 7143, section 9.2.1: 96 bits. */
const minimumSecretBytes = 12

export function authView(auth: StoredAuth, path: string): Auth {
  const { access_key, secret_key, ...chap } = auth
  return {
    path,
    ...chap,
    target_pswd: hidden,
    initiator_pswd: hidden,
    ...(access_key !== undefined && { access_key }),
    ...(secret_key !== undefined && { secret_key: hidden }),
  }
}

/**
 * The stored credentials with a change applied; a secret written as `(hidden)` stays.
 * @throws ApiError 422 when the type needs credentials that are not there
 */
export function mergeAuth(before: StoredAuth, change: AuthInput | undefined): StoredAuth {
  if (change === undefined) return before
  const keep = (value: string | undefined, old: string) =>
    value === undefined || value === hidden ? old : value
  const merged: StoredAuth = {
    type: change.type ?? before.type,
    target_user_name: keep(change.target_user_name, before.target_user_name),
    target_pswd: keep(change.target_pswd, before.target_pswd),
    initiator_user_name: keep(change.initiator_user_name, before.initiator_user_name),
    initiator_pswd: keep(change.initiator_pswd, before.initiator_pswd),
    ...((change.access_key ?? before.access_key) !== undefined && {
      access_key: keep(change.access_key, before.access_key ?? ''),
    }),
    ...((change.secret_key ?? before.secret_key) !== undefined && {
      secret_key: keep(change.secret_key, before.secret_key ?? ''),
    }),
  }
  const needsTarget = merged.type === 'chap' || merged.type === 'mchap'
  if (needsTarget && (merged.target_user_name === '' || merged.target_pswd === '')) {
    throw validationFailed(`auth: the type ${merged.type} needs target_user_name and target_pswd`)
  }
  if (merged.type === 'mchap' && (merged.initiator_user_name === '' || merged.initiator_pswd === '')) {
    throw validationFailed('auth: the type mchap needs initiator_user_name and initiator_pswd')
  }
  if (needsTarget && Buffer.byteLength(merged.target_pswd) < minimumSecretBytes) {
    throw validationFailed(`auth: target_pswd needs at least ${minimumSecretBytes} characters`)
  }
  if (merged.type === 'mchap') {
    if (Buffer.byteLength(merged.initiator_pswd) < minimumSecretBytes) {
      throw validationFailed(`auth: initiator_pswd needs at least ${minimumSecretBytes} characters`)
    }
    if (merged.initiator_pswd === merged.target_pswd) {
      throw validationFailed('auth: target_pswd and initiator_pswd must differ (RFC 7143, section 9.2.1)')
    }
  }
  return merged
}

export function authRoutes(node: NodeContext): Route[] {
  const path = '/app_instances/:ai/storage_instances/:si/auth'
  return [
    {
      method: 'GET',
      path,
      summary: 'Read how initiators prove who they are',
      handle: (request) => {
        const { ai, si } = locateStorageInstance(node, request)
        const own = `${storageInstancePath(ai.id, si.name)}/auth`
        return { data: authView(JSON.parse(si.auth), own), path: own }
      },
    },
    {
      method: 'PUT',
      path,
      summary: 'Change how initiators prove who they are; counts from the next login on',
      body: AuthInput,
      handle: async (request) => {
        const { ai, si } = locateStorageInstance(node, request)
        const auth = mergeAuth(JSON.parse(si.auth), request.body(AuthInput))
        node.database.run('UPDATE storage_instance SET auth = ? WHERE seq = ?', JSON.stringify(auth), si.seq)
        await node.exports.refreshAccess(si.uuid)
        const own = `${storageInstancePath(ai.id, si.name)}/auth`
        return { data: authView(auth, own), path: own }
      },
    },
  ]
}

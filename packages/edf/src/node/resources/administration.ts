import type { TObject } from 'typebox'
import {
  MonitoringDestination,
  MonitoringPolicy,
  SnmpPolicy,
  SnmpUser,
  StartUpgrade,
} from '../../schemas/administration.ts'
import { apiVersions } from '../../versions.ts'
import { destinationPath, policyPath } from '../alert-sender.ts'
import type { NodeContext } from '../context.ts'
import { conflict, invalidRequest, notFound, validationFailed } from '../errors.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { readSetting, writeSetting } from './settings.ts'

type Values = Readonly<Record<string, unknown>>

/**
 * What administrators of an array set up once: initial configuration, upgrades, SNMP, where alerts go. Of these settings
 * the node heeds those of alerts alone. (EDF API specification, sections 2.16 and 2.23.)
 */
export function administrationRoutes(node: NodeContext): Route[] {
  return [
    {
      method: 'GET',
      path: '/init/config',
      summary: 'Read the configuration with which the system was made',
      privilege: 'administrate',
      handle: () => ({
        data: {
          uuid: node.identity.systemUuid,
          storage_nodes: [node.identity.nodeUuid],
          mgmt_ip: node.managementAddress,
          access_ips: [...new Set(node.portals.map(({ host }) => host))],
        },
      }),
    },
    {
      method: 'GET',
      path: '/upgrade/available',
      summary: 'List upgrades: there are none',
      handle: (request) => {
        const { items, page } = listOf(request, [])
        return { data: items, page }
      },
    },
    {
      method: 'PUT',
      path: '/upgrade',
      summary: 'Upgrade to a build; this node is upgraded by installing another',
      body: StartUpgrade,
      privilege: 'administrate',
      handle: (request) => {
        throw invalidRequest(`The build ${request.body(StartUpgrade).build_id} is not available`)
      },
    },
    {
      method: 'GET',
      path: '/system/version_config',
      summary: 'Read versions of product and API',
      handle: () => ({
        data: {
          path: '/system/version_config',
          sw_version: node.productVersion,
          build_version: `${node.productVersion}-emberglass`,
          api_versions: apiVersions.map((version) => `v${version}`),
        },
      }),
    },
    ...singletonRoutes(node, '/system/snmp_policy', 'the SNMP policy', SnmpPolicy, () => ({
      location: '',
      contact: '',
      enabled: false,
      users: snmpUsers(node).map(hideSecrets),
    })),
    ...snmpUserRoutes(node),
    ...singletonRoutes(node, destinationPath, 'where alerts go', MonitoringDestination, () => ({
      name: 'default',
      type: 'syslog',
      host: '',
      port: 514,
      last_msg_ts: '',
      op_state: 'init',
      facility: 'Local0',
    })),
    ...singletonRoutes(node, policyPath, 'whether alerts are sent', MonitoringPolicy, () => ({
      name: 'default',
      enabled: false,
      destinations: [],
    })),
    {
      method: 'GET',
      path: '/monitoring/alerts',
      summary: 'List alerts that were not cleared',
      handle: (request) => {
        const standing = node.alerts.list(request.tenant).filter(({ cleared }) => !cleared)
        const { items, page } = listOf(request, standing)
        return { data: items, page }
      },
    },
  ]
}

/** An object that is always there, under one path. `defaults` come first, then what was written. */
function singletonRoutes(
  node: NodeContext,
  path: string,
  noun: string,
  body: TObject,
  defaults: () => Values,
): Route[] {
  const read = () => ({
    data: { path, ...defaults(), ...readSetting<Values>(node.database, path, {}) },
    path,
  })
  return [
    { method: 'GET', path, summary: `Read ${noun}`, handle: read },
    {
      method: 'PUT',
      path,
      summary: `Update ${noun}`,
      body,
      privilege: 'administrate',
      handle: (request) => {
        const before = readSetting<Values>(node.database, path, {})
        writeSetting(node.database, path, { ...before, ...named(body, request) })
        return read()
      },
    },
  ]
}

/** The attributes of a body that its schema names. */
function named(schema: TObject, request: ApiRequest): Values {
  const known = Object.keys(schema.properties)
  return Object.fromEntries(Object.entries(request.body(schema)).filter(([name]) => known.includes(name)))
}

const snmpPath = '/system/snmp_policy/users'

interface StoredSnmpUser extends Values {
  readonly user_id: string
}

function snmpUsers(node: NodeContext): StoredSnmpUser[] {
  return readSetting<StoredSnmpUser[]>(node.database, snmpPath, [])
}

function hideSecrets({ auth_pass, encr_pass, ...user }: StoredSnmpUser) {
  return {
    path: `${snmpPath}/${user.user_id}`,
    ...user,
    auth_pass: auth_pass ? '(hidden)' : '',
    encr_pass: encr_pass ? '(hidden)' : '',
  }
}

function snmpUserRoutes(node: NodeContext): Route[] {
  const find = (id: string): StoredSnmpUser => {
    const user = snmpUsers(node).find(({ user_id }) => user_id === id)
    if (user === undefined) throw notFound(`${snmpPath}/${id}`)
    return user
  }
  const answer = (user: StoredSnmpUser) => ({ data: hideSecrets(user), path: `${snmpPath}/${user.user_id}` })
  const save = (users: readonly StoredSnmpUser[]) => writeSetting(node.database, snmpPath, users)
  const path = `${snmpPath}/:user`
  return [
    {
      method: 'GET',
      path: snmpPath,
      summary: 'List users of SNMP',
      handle: (request) => {
        const { items, page } = listOf(request, snmpUsers(node).map(hideSecrets))
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path: snmpPath,
      summary: 'Create a user of SNMP',
      body: SnmpUser,
      privilege: 'administrate',
      handle: (request) => {
        const { user_id } = request.body(SnmpUser)
        if (user_id === undefined) throw validationFailed('user_id is required')
        if (snmpUsers(node).some((user) => user.user_id === user_id)) {
          throw conflict(`${snmpPath}/${user_id} exists`)
        }
        const user = {
          version: 'v3',
          view: 'all',
          security_level: 'none',
          ...named(SnmpUser, request),
          user_id,
        }
        save([...snmpUsers(node), user])
        return answer(user)
      },
    },
    { method: 'GET', path, summary: 'Read a user of SNMP', handle: (r) => answer(find(r.param('user'))) },
    {
      method: 'PUT',
      path,
      summary: 'Update a user of SNMP',
      body: SnmpUser,
      privilege: 'administrate',
      handle: (request) => {
        const before = find(request.param('user'))
        const change = Object.entries(named(SnmpUser, request)).filter(([, value]) => value !== '(hidden)')
        const user = { ...before, ...Object.fromEntries(change), user_id: before.user_id }
        save(snmpUsers(node).map((other) => (other.user_id === user.user_id ? user : other)))
        return answer(user)
      },
    },
    {
      method: 'DELETE',
      path,
      summary: 'Delete a user of SNMP',
      privilege: 'administrate',
      handle: (request) => {
        const user = find(request.param('user'))
        save(snmpUsers(node).filter((other) => other.user_id !== user.user_id))
        return answer(user)
      },
    },
  ]
}

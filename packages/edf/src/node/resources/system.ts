import { hostname } from 'node:os'
import { type HttpProxy, type System, UpdateHttpProxy, UpdateSystem } from '../../schemas/system.ts'
import type { VersionTraits } from '../../versions.ts'
import type { NodeContext } from '../context.ts'
import { notFound, validationFailed } from '../errors.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { gib } from '../units.ts'
import { systemCauses } from './copies-view.ts'
import { readSetting, writeSetting } from './settings.ts'

interface SystemSettings extends UpdateSystem {
  readonly ntpServers?: readonly string[]
  readonly dnsServers?: readonly string[]
  readonly searchDomains?: readonly string[]
}

const noProxy: HttpProxy = {
  path: '/system/http_proxy',
  enabled: false,
  host: '',
  port: 0,
  user: '',
  password: '',
}

export function systemRoutes(node: NodeContext): Route[] {
  const settings = () => readSetting<SystemSettings>(node.database, 'system', {})
  const save = (change: SystemSettings) => writeSetting(node.database, 'system', { ...settings(), ...change })
  return [
    {
      method: 'GET',
      path: '/system',
      summary: 'Read the system: versions, state, capacities in bytes',
      handle: (request) => ({ data: systemView(node, settings(), request.traits), path: '/system' }),
    },
    {
      method: 'PUT',
      path: '/system',
      summary: 'Update the system',
      body: UpdateSystem,
      privilege: 'administrate',
      handle: (request) => {
        const body = request.body(UpdateSystem)
        const known = Object.keys(UpdateSystem.properties)
        save(Object.fromEntries(Object.entries(body).filter(([name]) => known.includes(name))))
        return { data: systemView(node, settings(), request.traits), path: '/system' }
      },
    },
    {
      method: 'GET',
      path: '/system/http_proxy',
      summary: 'Read the proxy for outgoing requests',
      handle: () => ({ data: hideProxy(readSetting(node.database, 'http_proxy', noProxy)) }),
    },
    {
      method: 'PUT',
      path: '/system/http_proxy',
      summary: 'Update the proxy for outgoing requests',
      body: UpdateHttpProxy,
      privilege: 'administrate',
      handle: (request) => {
        const { enabled, host, port, user, password } = request.body(UpdateHttpProxy)
        const before = readSetting(node.database, 'http_proxy', noProxy)
        const after: HttpProxy = {
          path: '/system/http_proxy',
          enabled: enabled ?? before.enabled,
          host: host ?? before.host,
          port: port ?? before.port,
          user: user ?? before.user,
          password: password === undefined || password === '(hidden)' ? before.password : password,
        }
        writeSetting(node.database, 'http_proxy', after)
        return { data: hideProxy(after) }
      },
    },
    {
      method: 'GET',
      path: '/system/dns',
      summary: 'Read name servers',
      handle: () => ({ data: dns(settings()) }),
    },
    ...listSettingRoutes('/system/ntp_servers', 'time servers', 'ntpServers', settings, save),
    ...listSettingRoutes('/system/dns/servers', 'name servers', 'dnsServers', settings, save),
    ...listSettingRoutes('/system/dns/search_domains', 'search domains', 'searchDomains', settings, save),
    ...networkRoutes(node),
  ]
}

function listSettingRoutes(
  path: string,
  noun: string,
  name: 'ntpServers' | 'dnsServers' | 'searchDomains',
  settings: () => SystemSettings,
  save: (change: SystemSettings) => void,
): Route[] {
  return [
    { method: 'GET', path, summary: `List ${noun}`, handle: () => ({ data: settings()[name] ?? [] }) },
    {
      method: 'PUT',
      path,
      summary: `Replace ${noun}`,
      privilege: 'administrate',
      handle: (request) => {
        const body = request.rawBody()
        if (!Array.isArray(body) || !body.every((item) => typeof item === 'string')) {
          throw validationFailed(`${path} takes an array of strings`)
        }
        save({ [name]: body })
        return { data: body }
      },
    },
  ]
}

function networkRoutes(node: NodeContext): Route[] {
  const single = (path: string, summary: string, read: () => unknown): Route => ({
    method: 'GET',
    path,
    summary,
    handle: () => ({ data: read() }),
  })
  const vips = ['access_vip', 'mgmt_vip', 'internal_network'] as const
  return [
    single('/system/network', 'Read the networks', () => network(node)),
    single(
      '/system/network/mapping',
      'Read which interface serves which network',
      () => network(node).mapping,
    ),
    ...vips.flatMap((name): Route[] => [
      single(`/system/network/${name}`, `Read ${name}`, () => network(node)[name]),
      {
        method: 'GET',
        path: `/system/network/${name}/network_paths`,
        summary: `List the addresses of ${name}`,
        handle: (request) => {
          const { items, page } = listOf(request, network(node)[name].network_paths)
          return { data: items, page }
        },
      },
      {
        method: 'GET',
        path: `/system/network/${name}/network_paths/:np`,
        summary: `Read an address of ${name}`,
        handle: (request: ApiRequest) => {
          const paths = network(node)[name].network_paths
          const found = paths.find((item) => item.name === request.param('np'))
          if (found === undefined) throw notFound(request.path)
          return { data: found }
        },
      },
    ]),
  ]
}

function systemView(node: NodeContext, settings: SystemSettings, traits: VersionTraits): System {
  const { totalBytes, freeBytes, flashTotalBytes, flashFreeBytes } = node.store.usage()
  const causes = systemCauses(node)
  const provisioned = node.database.get<{ total: number | null; flash: number | null }>(
    `SELECT sum(size_gib) AS total, sum(CASE placement_mode WHEN 'all_flash' THEN size_gib END) AS flash
     FROM volume WHERE state = 'ready'`,
  )
  const provisionedBytes = (provisioned?.total ?? 0) * gib
  const flashBytes = (provisioned?.flash ?? 0) * gib
  const servers = settings.ntpServers ?? []
  return {
    path: '/system',
    name: settings.name ?? hostname(),
    uuid: node.identity.systemUuid,
    sw_version: node.productVersion,
    build_version: `${node.productVersion}-emberglass`,
    op_state: 'running',
    health: causes.length > 0 ? 'warning' : 'ok',
    causes,
    total_capacity: totalBytes,
    available_capacity: freeBytes,
    total_provisioned_capacity: provisionedBytes,
    hybrid_total_capacity: totalBytes,
    hybrid_available_capacity: freeBytes,
    hybrid_provisioned_capacity: provisionedBytes - flashBytes,
    all_flash_total_capacity: flashTotalBytes,
    all_flash_available_capacity: flashFreeBytes,
    all_flash_provisioned_capacity: flashBytes,
    l3_enabled: false,
    callhome_enabled: settings.callhome_enabled ?? false,
    compression_enabled: settings.compression_enabled ?? false,
    compression_ratio: '1.0',
    dedup_enabled: false,
    dedup_ratio: '1.0',
    timezone: settings.timezone ?? 'UTC',
    uptime: Date.now() - node.startedAt.getTime(),
    last_reboot_timestamp: String(Math.floor(node.startedAt.getTime() / 1000)),
    ntp_servers:
      traits.ntpServers === 'strings'
        ? [...servers]
        : servers.map((ip, order) => ({ path: `/system/ntp_servers/${order}`, ip, order })),
    dns: dns(settings),
    http_proxy: hideProxy(readSetting(node.database, 'http_proxy', noProxy)),
    network: network(node),
    network_devices: [],
    upgrade: {},
    access_interface_aggr_type: settings.access_interface_aggr_type ?? 'single',
    internal_interface_aggr_type: settings.internal_interface_aggr_type ?? 'single',
    interface_aggregation_mode: settings.interface_aggregation_mode ?? 'active-backup',
  }
}

function dns(settings: SystemSettings) {
  return {
    path: '/system/dns',
    domain: '',
    servers: settings.dnsServers ?? [],
    search_domains: settings.searchDomains ?? [],
  }
}

function hideProxy(proxy: HttpProxy): HttpProxy {
  return { ...proxy, password: proxy.password === '' ? '' : '(hidden)' }
}

/** The addresses the node really listens on. */
function network(node: NodeContext) {
  const path = '/system/network'
  const address = (vip: string, name: string, ip: string) => ({
    path: `${path}/${vip}/network_paths/${name}`,
    name,
    ip,
    netmask: 24,
    vlan: 0,
    mtu: 1500,
    gateway: '',
  })
  const access = node.portals.map(({ host }, index) => address('access_vip', `access_${index + 1}`, host))
  return {
    path,
    access_networks: access.map(({ name }) => name),
    access_vip: { path: `${path}/access_vip`, name: 'access_vip', network_paths: access },
    mgmt_vip: {
      path: `${path}/mgmt_vip`,
      name: 'mgmt_vip',
      network_paths: [address('mgmt_vip', 'mgmt_1', node.managementAddress)],
    },
    internal_network: {
      path: `${path}/internal_network`,
      name: 'internal',
      network_paths: [] as ReturnType<typeof address>[],
    },
    mapping: {
      path: `${path}/mapping`,
      access_1: '',
      access_2: '',
      internal_1: '',
      internal_2: '',
      mgmt_1: '',
      mgmt_2: '',
    },
  }
}

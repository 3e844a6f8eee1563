import { Invalid } from '../../../kernel/errors.ts'

/** Name of an image's app instance. */
export function imageName(imageId: string): string {
  return `OS-IMAGE-${imageId}`
}

/** The image of an app instance's name, or `undefined` when it is none of ours. */
export function imageIdOf(name: string): string | undefined {
  return name.startsWith('OS-IMAGE-') ? name.slice('OS-IMAGE-'.length) : undefined
}

/** `datera://<host>:<port>/app_instances/<image id>`. */
export function formatLocation(host: string, port: number, imageId: string): string {
  return `datera://${host.includes(':') ? `[${host}]` : host}:${port}/app_instances/${imageId}`
}

/** What a location says. Host and port are only told: the store's own ones are used. */
export interface Location {
  readonly host: string
  readonly imageId: string
}

/** Takes the last part as the image's id, with or without `OS-` or `OS-IMAGE-`. @throws Invalid */
export function parseLocation(location: string): Location {
  const found = /^datera:\/\/(.+):\d+\/app_instances\/(?:OS-IMAGE-|OS-)?([A-Za-z0-9_.-]+)$/.exec(location)
  const host = found?.[1]
  const imageId = found?.[2]
  if (host === undefined || imageId === undefined) {
    throw new Invalid(`'${location}' is not a location of this store: datera://host:port/app_instances/id.`)
  }
  return { host: host.replace(/^\[(.*)\]$/, '$1'), imageId }
}

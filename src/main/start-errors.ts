import { messageOf } from '../kernel/errors.ts'

/** One clear line about why something did not start, and what to do. */
export function describeStartError(error: unknown): string {
  const code = codeOf(error)
  if (code === 'EADDRINUSE') {
    const port = portOf(error)
    const what = port === undefined ? `${messageOf(error).replace(/\.$/, '')}:` : `Port ${port} is taken:`
    return `${what} stop what is using it, or choose other ports with --port-base.`
  }
  if (code === 'EACCES' && portOf(error) !== undefined) {
    return `Port ${portOf(error)} may not be opened by this user: choose others with --port-base.`
  }
  if (code === 'EADDRNOTAVAIL') {
    return `The address of --host does not belong to this machine (${messageOf(error)}).`
  }
  return messageOf(error)
}

function codeOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined
}

/** Node adds the port to the errors of `listen`. */
function portOf(error: unknown): number | undefined {
  const port = typeof error === 'object' && error !== null && 'port' in error ? error.port : undefined
  return typeof port === 'number' ? port : undefined
}

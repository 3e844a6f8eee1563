import { messageOf } from '../kernel/errors.ts'

/** One clear line about why something did not start, and what to do. */
export function describeStartError(error: unknown): string {
  const code = codeOf(error)
  if (code === 'EADDRINUSE') {
    const { port } = error as { port?: number } // Node adds it to the errors of listen
    return `Port ${port ?? ''} is taken: stop what is using it, or choose other ports with --port-base.`
  }
  if (code === 'EACCES' && typeof (error as { port?: unknown }).port === 'number') {
    return `Port ${(error as { port: number }).port} may not be opened by this user: choose others with --port-base.`
  }
  if (code === 'EADDRNOTAVAIL') {
    return `The address of --host does not belong to this machine (${messageOf(error)}).`
  }
  return messageOf(error)
}

function codeOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined
}

import type { NodeContext } from '../context.ts'
import { validationFailed } from '../errors.ts'
import { boundaryOf, readMultipart } from '../http/multipart.ts'
import type { Route } from '../http/route.ts'

/** A field of a form that says more than this is cut. */
const maximumFieldBytes = 256

/**
 * `PUT /logs_upload`: the field `ecosystem` and files under any name. There is no support service behind this node:
 * files are read to their end and counted, and an event tells of them; they are not kept.
 */
export function logsUploadRoute(node: NodeContext): Route {
  return {
    method: 'PUT',
    path: '/logs_upload',
    summary: 'Upload logs (multipart); they are counted and not kept',
    handle: async (request) => {
      const boundary = boundaryOf(request.contentType)
      if (request.upload === undefined || boundary === undefined) {
        throw validationFailed('logs_upload takes a multipart form')
      }
      const files: { name: string; bytes: number }[] = []
      let ecosystem = ''
      let current: { name: string; bytes: number } | undefined
      for await (const event of readMultipart(request.upload, boundary)) {
        if (event.kind === 'part') {
          const isField = event.fileName === undefined && event.name === 'ecosystem'
          current = isField ? undefined : { name: event.fileName || event.name, bytes: 0 }
          if (current !== undefined) files.push(current)
        } else if (current !== undefined) {
          current.bytes += event.bytes.length
        } else {
          ecosystem = (ecosystem + event.bytes.toString('utf8')).slice(0, maximumFieldBytes)
        }
      }
      const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
      node.events.record({
        kind: 'system',
        code: 'LOGS_UPLOADED',
        description: `${files.length} files with ${bytes} bytes of logs of ${ecosystem || 'unknown origin'} were read, not kept`,
        tenant: request.tenant,
        objectPath: '/logs_upload',
        context: { ecosystem, files },
      })
      return { data: {} }
    },
  }
}

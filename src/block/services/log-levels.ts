import { Type } from 'typebox'
import { Invalid } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { accepted, type BlockRequest, type Operation, operation } from '../operation.ts'
import { authorize } from '../policy.ts'
import { closed, validator } from '../validation.ts'

const text = Type.Optional(Type.Union([Type.String({ maxLength: 255 }), Type.Null()]))
const fields = { binary: text, server: text, prefix: text }
const getBody = validator(closed(fields))
const setBody = validator(closed({ ...fields, level: Type.String() }))

/** The words of the API and those of our log. */
const levels: Readonly<Record<string, string>> = {
  DEBUG: 'debug',
  INFO: 'info',
  WARNING: 'warn',
  ERROR: 'error',
  CRITICAL: 'fatal',
}

/** The one logger that there is. */
const loggerName = 'emberglass'

interface Which {
  readonly binary?: string | null
  readonly server?: string | null
  readonly prefix?: string | null
}

/**
 * `os-services/get-log` and `set-log`, from 3.32 on: the levels of this process, which is every service at once.
 * A new level holds until the next start.
 */
export function logLevelOperations(block: Block): readonly Operation[] {
  return [
    operation({
      method: 'PUT',
      path: '/os-services/get-log',
      since: 32,
      body: getBody,
      async run(request, body) {
        const named = Object.entries(levels).find(([, level]) => level === block.log.level)?.[0] ?? 'INFO'
        const services = await chosen(request, body)
        const shown = isChosenLogger(body) ? { [loggerName]: named } : {}
        return { status: 200, body: { log_levels: services.map((one) => ({ ...one, levels: shown })) } }
      },
    }),
    operation({
      method: 'PUT',
      path: '/os-services/set-log',
      since: 32,
      body: setBody,
      async run(request, body) {
        const services = await chosen(request, body)
        const level = levels[body.level.toUpperCase()]
        if (level === undefined) {
          throw new Invalid(`Invalid input received: Log level ${body.level} is not valid.`)
        }
        if (services.length > 0 && isChosenLogger(body)) block.log.level = level
        return accepted
      },
    }),
  ]

  async function chosen(
    request: BlockRequest,
    { binary, server }: Which,
  ): Promise<readonly { host: string; binary: string }[]> {
    authorize(request.identity, 'volume_extension:services:update')
    const known = ['cinder-api', 'cinder-backup', 'cinder-scheduler', 'cinder-volume']
    if (binary && binary !== '*' && !known.includes(binary)) {
      throw new Invalid(`Invalid input received: binary must be empty, '*' or one of: ${known.join(', ')}`)
    }
    let select = block.db.selectFrom('volume_services').select(['host', 'binary'])
    if (binary && binary !== '*') select = select.where('binary', '=', binary)
    if (server) select = select.where('host', '=', server)
    return await select.orderBy('binary').orderBy('host').execute()
  }
}

const isChosenLogger = ({ prefix }: Which) => !prefix || loggerName.startsWith(prefix)

import { type DestinationStream, type Logger as PinoLogger, pino } from 'pino'

/** Structured log: `log.info({ volumeId, sizeBytes }, 'volume created')`. */
export type Logger = PinoLogger

/** Field names whose values never reach a log, at any of the first three levels of nesting. */
const secretFields = [
  'password',
  'adminPass',
  'secret',
  'token',
  'auth_token',
  'authorization',
  'x-auth-token',
  'x-subject-token',
  'x-service-token',
  'auth_password',
  'chap_password',
  'san_password',
  'user_password',
  'discovery_auth_password',
]

const redactPaths = secretFields.flatMap((field) => {
  const key = `["${field}"]`
  return [key, `*${key}`, `*.*${key}`]
})

/**
 * @param destination where lines go; standard output by default
 * @param name becomes the `name` field of every line
 */
export function createLogger(
  options: { name: string; level?: string },
  destination?: DestinationStream,
): Logger {
  const settings = {
    name: options.name,
    level: options.level ?? 'info',
    base: { pid: process.pid },
    redact: { paths: redactPaths, censor: '•••' },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  }
  return destination === undefined ? pino(settings) : pino(settings, destination)
}

/** A logger that says nothing, for tests. */
export function silentLogger(): Logger {
  return pino({ level: 'silent' })
}

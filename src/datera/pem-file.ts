import { readFile } from 'node:fs/promises'
import { Misconfigured, messageOf } from '../kernel/errors.ts'

/**
 * The text of a file of certificates or keys.
 * @param option that names the file, for the error
 * @throws Misconfigured when it cannot be read
 */
export async function readPemFile(option: string, path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    const message = `${option}: ${path} cannot be read: ${messageOf(cause)}.`
    throw new Misconfigured(message, { details: { option }, cause })
  }
}

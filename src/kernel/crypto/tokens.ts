import { createHash, randomBytes } from 'node:crypto'

/** 256 random bits that say nothing, safe in URLs, headers and as arguments: never begins with a dash. */
export function randomToken(): string {
  const token = randomBytes(32).toString('base64url')
  return token.startsWith('-') ? randomToken() : token
}

/**
 * What is kept of a token: it can be found again, but whoever reads the database cannot use it. One round of
 * SHA-256 is enough, because a random token cannot be guessed.
 */
export function tokenDigest(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}

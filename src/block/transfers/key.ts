import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

/** A random hexadecimal text of that many characters. */
export function randomKey(characters: number): string {
  return randomBytes(Math.ceil(characters / 2))
    .toString('hex')
    .slice(0, characters)
}

/** What is kept of a key. The key is random, so one round suffices. */
export function hashKey(salt: string, key: string): string {
  return createHmac('sha256', salt).update(key).digest('hex')
}

/** Is it the key that was hashed? In a time that does not tell how much of it is right. */
export function isKey(key: string, salt: string, hash: string): boolean {
  return timingSafeEqual(Buffer.from(hashKey(salt, key)), Buffer.from(hash))
}

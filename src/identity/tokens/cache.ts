import { LRUCache } from 'lru-cache'
import type { TokenDetails } from './details.ts'

/** How long a change made by another process may go unnoticed here, in milliseconds. */
const maxAgeMs = 5_000
const maxTokens = 10_000

/**
 * What tokens mean, kept so that most requests need no query. Every change made in this process clears it.
 */
export interface TokenCache {
  clear(): void
  /** @param load is called when the digest is not kept; what it finds during a `clear` is not kept either */
  get(digest: string, load: () => Promise<TokenDetails | undefined>): Promise<TokenDetails | undefined>
}

export function tokenCache(): TokenCache {
  const kept = new LRUCache<string, TokenDetails>({ max: maxTokens, ttl: maxAgeMs })
  let generation = 0
  return {
    clear() {
      generation++
      kept.clear()
    },
    async get(digest, load) {
      const known = kept.get(digest)
      if (known !== undefined) return known
      const before = generation
      const found = await load()
      if (found !== undefined && before === generation) kept.set(digest, found)
      return found
    },
  }
}

/**
 * The candidate that a misspelt word most likely meant: the one with the fewest edits, if that is at most two, or
 * a fifth of a longer word.
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(word.length / 5)) + 1
  for (const candidate of candidates) {
    const distance = edits(word, candidate, bestDistance)
    if (distance < bestDistance && distance < Math.min(word.length, candidate.length)) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** Levenshtein's distance, or `limit` when it is that or more. */
function edits(from: string, to: string, limit: number): number {
  if (Math.abs(from.length - to.length) >= limit) return limit
  let previous = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let row = 1; row <= from.length; row++) {
    const current = [row]
    for (let column = 1; column <= to.length; column++) {
      const substitution = (previous[column - 1] ?? limit) + (from[row - 1] === to[column - 1] ? 0 : 1)
      const insertion = (current[column - 1] ?? limit) + 1
      const deletion = (previous[column] ?? limit) + 1
      current.push(Math.min(substitution, insertion, deletion))
    }
    previous = current
  }
  return Math.min(previous[to.length] ?? limit, limit)
}

/**
 * Whether a product version has reached a gate. Suffixes such as `-rc1` are ignored, missing numbers are zero, and
 * a text that is no version at all has reached nothing.
 */
export function productAtLeast(swVersion: string | undefined, gate: string): boolean {
  const have = numbersOf(swVersion ?? '')
  const want = numbersOf(gate)
  if (have.length === 0) return false
  for (let place = 0; place < 4; place += 1) {
    const difference = (have[place] ?? 0) - (want[place] ?? 0)
    if (difference !== 0) return difference > 0
  }
  return true
}

function numbersOf(version: string): number[] {
  const found = /^\d+(\.\d+){0,3}/.exec(version)
  return found === null ? [] : found[0].split('.').map(Number)
}

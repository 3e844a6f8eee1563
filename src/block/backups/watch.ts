/** How often a running operation looks whether it is still wanted, in milliseconds. */
const lookMs = 1_000

/** Somebody has deleted or reset what the operation works on. */
export class Unwanted extends Error {}

/**
 * A signal that is also aborted when something is not wanted any more.
 * @param isWanted asked again and again; a failure counts as a yes
 */
export function whileWanted(
  signal: AbortSignal,
  isWanted: () => Promise<boolean>,
): Disposable & { readonly signal: AbortSignal; readonly isUnwanted: boolean } {
  const unwanted = new AbortController()
  const timer = setInterval(() => {
    void isWanted().then(
      (wanted) => {
        if (!wanted) unwanted.abort(new Unwanted('the operation is not wanted any more'))
      },
      () => {}, // the database is asked again
    )
  }, lookMs).unref()
  return {
    signal: AbortSignal.any([signal, unwanted.signal]),
    get isUnwanted() {
      return unwanted.signal.aborted && !signal.aborted
    },
    [Symbol.dispose]: () => clearInterval(timer),
  }
}

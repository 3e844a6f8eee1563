import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

const lists = ['upstream-passes-volume.txt', 'upstream-passes-image.txt']

/**
 * Sets results beside the tests that upstream's own services pass.
 * @param results the file that `report.py` writes: status, id, seconds and reason, with tabs between them
 * @param wanted which tests were to run; of the others nothing is expected
 * @returns a line for each list that has a test among them, followed by those that did not pass
 */
export async function compareWithUpstream(results: string, wanted: (id: string) => boolean): Promise<string> {
  const status = new Map<string, string>()
  for (const line of (await readFile(results, 'utf8')).split('\n')) {
    const [outcome = '', id = ''] = line.split('\t')
    status.set(id, outcome)
  }
  let text = ''
  for (const list of lists) {
    const expected = (await readTests(join(import.meta.dirname, list))).filter(wanted)
    if (expected.length === 0) continue
    const missing = expected.filter((id) => status.get(id) !== 'success')
    text += `${list}: ${expected.length - missing.length} of ${expected.length} passed\n`
    for (const id of missing) text += `  ${status.get(id) ?? 'did not run'}: ${id}\n`
  }
  return text
}

/** The test ids of a list. */
export async function readTests(path: string): Promise<readonly string[]> {
  return (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '')
}

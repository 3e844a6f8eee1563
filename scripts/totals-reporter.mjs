// A reporter for node:test that writes the totals of a run as JSON. Suites count for nothing, their tests do.
export default async function* totals(source) {
  let passed = 0
  let failed = 0
  let skipped = 0
  for await (const event of source) {
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue
    if (event.data.details?.type === 'suite') continue
    if (event.type === 'test:fail') failed += 1
    else if (event.data.skip !== undefined && event.data.skip !== false) skipped += 1
    else passed += 1
  }
  yield JSON.stringify({ passed, failed, skipped })
}

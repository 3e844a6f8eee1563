import { diskConformance } from './disk.conformance.ts'
import { tgtdKind } from './tgtd.fixture.ts'

diskConformance(await tgtdKind())

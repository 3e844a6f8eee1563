import file from './file.ts'
import memory from './memory.ts'

/** The stores that need nothing but this package's own kernel; `main.ts` adds the others. */
export const basicImageStores = [file, memory] as const

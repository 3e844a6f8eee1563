/**
 * The composition root: this file and `src/main/` are the only ones that know every room. Everything else gets
 * what it needs as arguments.
 */
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'

// Before anything big is imported: compiled code and stripped types are kept for the next start.
enableCompileCache(join(import.meta.dirname, '..', 'node_modules', '.cache', 'emberglass'))

const { runCommandLine } = await import('./main/command-line.ts')
await runCommandLine(process.argv)

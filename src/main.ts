/**
 * The composition root: this file and `src/main/` are the only ones that know every room. Everything else gets
 * what it needs as arguments. Started by `bin/emberglass.mjs`.
 */
import { runCommandLine } from './main/command-line.ts'

await runCommandLine(process.argv)

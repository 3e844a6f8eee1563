import type { DataDirectory } from '@emberglass/edf/node'
import { Command, InvalidArgumentError } from 'commander'
import { messageOf } from '../kernel/errors.ts'
import { passwordVariable } from './edf-node-process.ts'
import { addIscsiCommands } from './iscsi-commands.ts'

function wholeNumber(value: string): number {
  if (!/^\d+$/.test(value)) throw new InvalidArgumentError('a whole number is expected.')
  return Number(value)
}

/** `flash:<directory>` or `hdd:<directory>`, several times. */
function dataDirectory(value: string, before: DataDirectory[] = []): DataDirectory[] {
  const [, media, path = ''] = /^(flash|hdd):(.+)$/.exec(value) ?? []
  if (media !== 'flash' && media !== 'hdd') {
    throw new InvalidArgumentError('flash:<directory> or hdd:<directory> is expected.')
  }
  return [...before, { media, path }]
}

/** What every command that runs services takes. */
function serviceOptions(command: Command): Command {
  return command
    .option(
      '--state-dir <directory>',
      'where everything is kept',
      process.env['EMBERGLASS_STATE_DIR'] ?? 'var',
    )
    .option('--port-base <port>', 'use a block of ten ports from here instead of the usual ones', wholeNumber)
    .option(
      '--host <address>',
      'the address to listen on and to announce (default: as the configuration says, or 127.0.0.1)',
    )
    .option(
      '--cinder-conf <file>',
      'configuration of block storage (default: cinder.conf in the state directory, if any)',
    )
    .option(
      '--glance-conf <file>',
      'configuration of images (default: glance-api.conf in the state directory, if any)',
    )
    .option(
      '--database <url>',
      'database of services whose configuration names none (default: SQLite in the state directory)',
    )
    .option('--log-level <level>', 'trace, debug, info, warn or error', 'info')
}

/** `emberglass <command>`. Each command loads only what it needs: start-up time is part of the promise. */
export async function runCommandLine(argv: readonly string[]): Promise<void> {
  const program = new Command('emberglass')
    .description('OpenStack block storage and image storage, on the Datera Elastic Data Fabric')
    .showHelpAfterError('(emberglass --help lists the commands)')

  serviceOptions(
    program
      .command('start')
      .description(
        'run everything on this machine: identity, block storage, image, and an EDF node as the array',
      ),
  )
    .option('--no-edf-node', 'do not start the embedded array')
    .option(
      '--edf-data-directory <media:directory>',
      'a data directory of the embedded array, flash:… or hdd:…, several times: copies lie on different ones',
      dataDirectory,
    )
    .action(async (options) => {
      const { start } = await import('./start.ts')
      await start(options)
    })

  serviceOptions(
    program
      .command('serve')
      .description('run services of an installation whose array, and whose other services, are elsewhere'),
  )
    .option('--only <services>', 'of identity, block-storage and image, separated by commas (default: all)')
    .action(async (options) => {
      const { start } = await import('./start.ts')
      await start({ ...options, edfNode: false })
    })

  const edfNode = program
    .command('edf-node')
    .description('run the EDF-compatible storage node alone')
    .requiredOption('--directory <directory>', 'where the node keeps its metadata and data')
    .option(
      '--data-directory <media:directory>',
      'where data lie, flash:… or hdd:…, several times: copies lie on different ones (default: in --directory)',
      dataDirectory,
    )
    .option('--host <address>', 'the address to listen on', '127.0.0.1')
    .option('--http-port <port>', 'REST over http', wholeNumber, 7717)
    .option('--https-port <port>', 'REST over https', wholeNumber, 7718)
    .option('--iscsi-port <port>', 'iSCSI', wholeNumber, 3260)
    .option(
      '--iscsi-address <address...>',
      'further addresses for iSCSI (default: 127.0.0.2 beside 127.0.0.1); address pools choose among all',
    )
    .option('--product-version <version>', 'the product version it reports', '3.3.0.0')
    .option(
      '--ldap-config <file>',
      'directories whose users may log in: a JSON array (packages/edf/README.md)',
    )
    .option('--verbose', 'print every request')
    .addHelpText(
      'after',
      `\nThe password of admin is taken from ${passwordVariable}, or made at the first start and kept in the directory.`,
    )
    .action(async (options) => {
      const { runEdfNode } = await import('./edf-node.ts')
      await runEdfNode(options)
    })

  edfNode
    .command('check')
    .description(
      "check a node's metadata and maps, and all data against their checksums; it may run meanwhile",
    )
    .usage('--directory <directory> [--data-directory <media:directory>]...')
    .addHelpText(
      'after',
      `
Data directories need to be named only where they have moved since the node ran last.
Ends with 0 when all is well, 1 when something is damaged, 2 when that could not be found out.`,
    )
    .action(async (_options, command: Command) => {
      const { runEdfNodeCheck } = await import('./edf-node-check.ts')
      await runEdfNodeCheck(command.optsWithGlobals())
    })

  program
    .command('tour')
    .description('the whole trip: upload an image, make a volume of it, attach it, read it back')
    .option(
      '--state-dir <directory>',
      'of the running instance to use',
      process.env['EMBERGLASS_STATE_DIR'] ?? 'var',
    )
    .option('--own', 'start an instance of its own even when one is running', false)
    .option('--size-mib <MiB>', 'size of the random image', wholeNumber, 256)
    .action(async (options) => {
      const { runTour } = await import('./tour.ts')
      await runTour(options)
    })

  addIscsiCommands(program)

  const backup = program.command('backup').description('follow backups, and check them')
  for (const [verb, description] of [
    ['watch', 'show how far a backup, a restore or a verification is'],
    ['verify', 'read a backup back and check every digest, without restoring it'],
  ] as const) {
    backup
      .command(`${verb} <id>`)
      .description(description)
      .option(
        '--state-dir <directory>',
        'of the running instance to use',
        process.env['EMBERGLASS_STATE_DIR'] ?? 'var',
      )
      .action(async (id: string, options: { stateDir: string }) => {
        const { verifyBackup, watchBackup } = await import('../cli/backup.ts')
        await (verb === 'watch' ? watchBackup : verifyBackup)(options.stateDir, id)
      })
  }

  try {
    await program.parseAsync([...argv])
  } catch (error) {
    process.stderr.write(`emberglass: ${messageOf(error)}\n`)
    process.exit(1)
  }
}

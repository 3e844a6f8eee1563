import { type Command, InvalidArgumentError, Option } from 'commander'

const defaultInitiator = 'iqn.2026-11.org.emberglass:cli'

function wholeNumber(value: string): number {
  if (!/^\d+$/.test(value)) throw new InvalidArgumentError('a whole number is expected.')
  return Number(value)
}

/** `4096`, `64k`, `1m`, `2g`: bytes. */
function byteCount(value: string): number {
  const [, digits, unit = ''] = /^(\d+)([kmgKMG]?)$/.exec(value) ?? []
  if (digits === undefined) throw new InvalidArgumentError('bytes are expected, such as 4096, 64k, 1m or 2g.')
  return Number(digits) * 1024 ** ['', 'k', 'm', 'g'].indexOf(unit.toLowerCase())
}

function collected(value: string, before: readonly string[]): readonly string[] {
  return [...before, value]
}

/** `emberglass iscsi …`: our initiator by hand. */
export function addIscsiCommands(program: Command): void {
  const iscsi = program
    .command('iscsi')
    .description('talk to any iSCSI target, without a kernel initiator')
    .addHelpText(
      'after',
      `
A disk is written iscsi://[user[%secret]@]host[:port]/target name/LUN. Secrets may come from the environment instead:
LIBISCSI_CHAP_USERNAME, LIBISCSI_CHAP_PASSWORD, and for the target's proof LIBISCSI_CHAP_TARGET_USERNAME,
LIBISCSI_CHAP_TARGET_PASSWORD.`,
    )
  const command = (name: string, description: string): Command =>
    iscsi
      .command(name)
      .description(description)
      .addOption(
        new Option('--initiator-name <iqn>', 'the name to go by')
          .env('EMBERGLASS_INITIATOR_NAME')
          .default(defaultInitiator),
      )
      .option('--timeout-seconds <seconds>', 'limit of each login and command', wholeNumber, 30)
      .option(
        '--portal <host:port>',
        'a further portal, for when the first fails (repeatable)',
        collected,
        [],
      )
      .option('--header-digest', 'CRC32C over headers', false)
      .option('--data-digest', 'CRC32C over data', false)

  command('discover <portal-url>', 'list the targets of a portal: iscsi://host[:port]').action(
    async (url, options) => {
      const { discover } = await import('../cli/iscsi/discover.ts')
      await discover(url, options)
    },
  )
  command('inq <url>', 'what a disk says of itself').action(async (url, options) => {
    const { inq } = await import('../cli/iscsi/inq.ts')
    await inq(url, options)
  })
  command('read <url> [file]', 'copy a disk into a file; to standard output without one, or for -')
    .option('--offset <bytes>', 'where to begin', byteCount, 0)
    .option('--length <bytes>', 'how much (default: to the end)', byteCount)
    .action(async (url, file, options) => {
      const { read } = await import('../cli/iscsi/read.ts')
      await read(url, file ?? '-', options)
    })
  command('write <file> <url>', 'copy a file, or standard input for -, onto a disk')
    .option('--offset <bytes>', 'where on the disk to begin', byteCount, 0)
    .option('--no-skip-zeroes', 'send zeroes as data, too')
    .action(async (file, url, options) => {
      const { write } = await import('../cli/iscsi/write.ts')
      await write(file, url, options)
    })
  command('bench <url>', 'read or write a disk for a while, and say how fast it was')
    .addOption(
      new Option('--pattern <pattern>', 'what to do')
        .choices(['read', 'write', 'randread', 'randwrite'])
        .default('read'),
    )
    .option('--block-size <bytes>', 'bytes of one command', byteCount, 65536)
    .option('--depth <commands>', 'commands under way at a time', wholeNumber, 8)
    .option('--seconds <seconds>', 'how long', wholeNumber, 5)
    .option('--overwrite', 'allow the patterns that destroy what is on the disk', false)
    .action(async (url, options) => {
      const { bench } = await import('../cli/iscsi/bench.ts')
      await bench(url, options)
    })
}

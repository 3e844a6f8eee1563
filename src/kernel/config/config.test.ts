import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Misconfigured } from '../errors.ts'
import { type Config, type ConfigSources, loadConfig } from './config.ts'
import {
  boolean,
  choice,
  dictionary,
  integer,
  list,
  multiple,
  optionalText,
  port,
  requiredText,
  secret,
  text,
} from './options.ts'

async function load(
  files: Record<string, string>,
  defaults?: ConfigSources['defaults'],
): Promise<{ config: Config; directory: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'emberglass-config-'))
  try {
    for (const [name, content] of Object.entries(files)) await writeFile(join(directory, name), content)
    const paths = Object.keys(files).map((name) => join(directory, name))
    return { config: await loadConfig({ files: paths, ...(defaults && { defaults }) }), directory }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

const loadText = async (content: string) => (await load({ 'test.conf': content })).config

function problemsOf(config: Config): readonly string[] {
  try {
    config.check()
  } catch (error) {
    assert.ok(error instanceof Misconfigured)
    return error.message.split('\n').slice(1)
  }
  return []
}

const password = { password: secret('password', { help: '' }) }

test('passwords with # ; = % : and spaces arrive as they stand in the file', async () => {
  for (const value of [
    'p#ss;x',
    'a=b:c',
    '100%(x)s%',
    'with  two spaces',
    '#leading',
    ';leading',
    "it's",
    'a"b',
  ]) {
    const config = await loadText(`[edf]\npassword = ${value}\n`)
    assert.equal(config.read('edf', password).password?.reveal(), value)
    assert.deepEqual(config.check().warnings, [])
  }
})

test('a dollar sign is written twice, or with a backslash, or stands before something that is no name', async () => {
  for (const [written, meant] of [
    ['pa$$w0rd', 'pa$w0rd'],
    ['pa\\$w0rd', 'pa$w0rd'],
    ['pa$%!$', 'pa$%!$'],
    ['$$$$', '$$'],
    ['$1', '$1'],
  ]) {
    const config = await loadText(`[edf]\npassword = ${written}\n`)
    assert.equal(config.read('edf', password).password?.reveal(), meant)
    config.check()
  }
})

test('one pair of quotes round the whole value is removed, as oslo.config does', async () => {
  const config = await loadText(`[a]\none = "x y"\ntwo = 'it"s'\nthree = "a" and "b'\nfour = ""\n`)
  const options = { one: text('one', { help: '' }), two: text('two', { help: '' }) }
  assert.deepEqual(config.read('a', options), { one: 'x y', two: 'it"s' })
  const more = { three: text('three', { help: '' }), four: text('four', { help: '', default: 'd' }) }
  assert.deepEqual(config.read('a', more), { three: `"a" and "b'`, four: '' })
})

test('an indented line continues the value above it, also when it looks like a comment or an option', async () => {
  const config = await loadText('[a]\nhosts = one,\n  two,\n\t#three,\n  four=4\n\nnext = 1\n')
  const settings = config.read('a', {
    hosts: list('hosts', { help: '' }),
    next: integer('next', { help: '' }),
  })
  assert.deepEqual(settings, { hosts: ['one', 'two', '#three', 'four=4'], next: 1 })
})

test('of = and : the first one ends the name', async () => {
  const config = await loadText('[a]\nurl: http://x/?a=b\nmap = k:v\n')
  const settings = config.read('a', { url: text('url', { help: '' }), map: dictionary('map', { help: '' }) })
  assert.deepEqual(settings, { url: 'http://x/?a=b', map: { k: 'v' } })
})

test('a repeated option keeps every value when it may be repeated, and otherwise the last', async () => {
  const { config } = await load({
    '1.conf': '[a]\nfilter = one\nfilter = two\nsize = 1\nsize = 2\n',
    '2.conf': '[a]\nfilter = three\nsize = 3\n',
  })
  const settings = config.read('a', {
    filter: multiple('filter', { help: '' }),
    size: integer('size', { help: '' }),
  })
  assert.deepEqual(settings, { filter: ['one', 'two', 'three'], size: 3 })
})

test('$name looks in its own section, then in [DEFAULT], then at what is declared; $group.name elsewhere', async () => {
  const { config } = await load(
    {
      'test.conf': `[DEFAULT]
my_ip = 10.0.0.1
state_path = /var/lib/x
[keystone]
host = id.example
[a]
my_ip = 10.0.0.2
own = http://$my_ip:5000
other = http://\${keystone.host}:5000/$state_path
chain = <$own>
weak = $region
known = $size
`,
    },
    { DEFAULT: { region: 'RegionOne' } },
  )
  const named = (name: string) => text(name, { help: '' })
  const settings = config.read('a', {
    own: named('own'),
    other: named('other'),
    chain: named('chain'),
    weak: named('weak'),
    known: named('known'),
    size: integer('size', { help: '', default: 7 }),
  })
  assert.deepEqual(settings, {
    own: 'http://10.0.0.2:5000',
    other: 'http://id.example:5000//var/lib/x',
    chain: '<http://10.0.0.2:5000>',
    weak: 'RegionOne',
    known: '7',
    size: 7,
  })
  config.check()
})

test('a reference to nothing, or to itself, is a problem; that of a secret is not printed', async () => {
  const config = await loadText('[a]\none = $gone\ntwo = $three\nthree = $two\npassword = hunter$two2\n')
  config.read('a', { one: text('one', { help: '' }), two: text('two', { help: '' }), ...password })
  const problems = problemsOf(config)
  assert.equal(problems.length, 3)
  assert.match(problems[0] ?? '', /test\.conf:2: \[a\] one: refers to \$gone, which is not set/)
  assert.match(problems[1] ?? '', /test\.conf:3: \[a\] two: refers to itself/)
  assert.match(problems[2] ?? '', /test\.conf:5: \[a\] password: /)
  assert.doesNotMatch(problems.join('\n'), /hunter|two2/)
})

test('every problem is reported at once, each with file and line', async () => {
  const { config, directory } = await load({
    'bad.conf':
      'early = 1\n[a\n[]\n[a]\n= x\nsecret words here\n  more of it\nsize = big\nport = 70000\nmode = x\n',
    'more.conf': ' indented\n[b]\nflag = perhaps\n',
  })
  config.read('a', {
    size: integer('size', { help: '' }),
    port: port('port', { help: '' }),
    mode: choice('mode', ['fast', 'slow'], { help: '', default: 'fast' }),
    host: requiredText('host', { help: 'Where it is.' }),
  })
  config.read('b', { flag: boolean('flag', { help: '' }) })
  const expected = [
    "bad.conf:1: 'early' stands before the first [section]",
    "bad.conf:2: a section's name must end with ']'",
    'bad.conf:3: a section must have a name',
    "bad.conf:5: there is no name before the '=' or ':'",
    "bad.conf:6: expected 'name = value', found 'secret'",
    'more.conf:1: an indented line continues the value above it, but there is none',
    "bad.conf:8: [a] size: expected a whole number, not 'big'",
    'bad.conf:9: [a] port: expected 65535 or less, not 70000',
    "bad.conf:10: [a] mode: expected one of fast, slow, not 'x'",
    '[a] host must be set: Where it is.',
    "more.conf:3: [b] flag: expected true or false, not 'perhaps'",
  ]
  const found = problemsOf(config).map((line) => line.trim().replace(`${directory}/`, ''))
  assert.deepEqual(found, expected)
})

test('a file that is missing or is not UTF-8 is a problem', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'emberglass-config-'))
  try {
    const binary = join(directory, 'binary.conf')
    await writeFile(binary, Buffer.from([0x5b, 0xff, 0xfe, 0x5d]))
    const missing = join(directory, 'missing.conf')
    const problems = problemsOf(await loadConfig({ files: [missing, binary] }))
    assert.equal(problems.length, 2)
    assert.match(problems[0] ?? '', /missing\.conf: cannot be read: ENOENT/)
    assert.match(problems[1] ?? '', /binary\.conf: cannot be read/)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})

test('a directory stands for its .conf files in alphabetical order', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'emberglass-config-'))
  try {
    await writeFile(join(directory, '10-a.conf'), '[a]\nsize = 1\nhost = a\n')
    await writeFile(join(directory, '20-b.conf'), '[a]\nsize = 2\n')
    await writeFile(join(directory, '30-c.conf.bak'), '[a]\nsize = 3\n')
    const config = await loadConfig({ files: [directory] })
    const settings = config.read('a', {
      size: integer('size', { help: '' }),
      host: text('host', { help: '' }),
    })
    assert.deepEqual(settings, { size: 2, host: 'a' })
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})

test('unknown names in sections that are read warn once, with the nearest name; other sections do not', async () => {
  const config = await loadText(`[DEFAULT]
enabled_backend = a
enabled_backend = b
transport_url = rabbit://
[databse]
connection = sqlite://
[oslo_messaging_rabbit]
ssl = true
[lvm-2]
volume_group = x
`)
  config.read('DEFAULT', { backends: list('enabled_backends', { help: '' }) })
  config.read('database', { connection: text('connection', { help: '' }) })
  config.read('lvm-1', { group: text('volume_group', { help: '' }) })
  const warnings = config.check().warnings.map((line) => line.replace(/^.*test\.conf/, ''))
  assert.deepEqual(warnings, [
    ':2: [DEFAULT] enabled_backend is not read and has no effect; did you mean enabled_backends?',
    ':4: [DEFAULT] transport_url is not read and has no effect',
    ':5: section [databse] is not read; did you mean [database]?',
  ])
})

test('deprecated names, also in another section, are used and warn; the present name wins', async () => {
  const config = await loadText('[DEFAULT]\nsql_connection = old\nlisten = 1\nlisten_port = 2\n')
  const connection = text('connection', { help: '', deprecatedNames: ['DEFAULT/sql_connection'] })
  const listen = integer('listen_port', { help: '', deprecatedNames: ['listen'] })
  assert.deepEqual(config.read('database', { connection }), { connection: 'old' })
  assert.deepEqual(config.read('DEFAULT', { listen }), { listen: 2 })
  const warnings = config.check().warnings
  assert.equal(warnings.length, 1)
  assert.match(warnings[0] ?? '', /\[DEFAULT\] sql_connection is deprecated: use \[database\] connection$/)
})

test('a backend takes from [backend_defaults] what it does not say itself', async () => {
  const config = await loadText('[backend_defaults]\nsan_ip = shared\nsize = 1\n[Datera.A]\nsize = 2\n')
  const options = { host: text('san_ip', { help: '' }), size: integer('size', { help: '' }) }
  assert.deepEqual(config.read('datera.a', options, ['backend_defaults']), { host: 'shared', size: 2 })
  assert.deepEqual(config.sections(), ['backend_defaults', 'Datera.A'])
  assert.equal(config.has('datera.a'), true)
  assert.equal(config.has('datera'), false)
})

test('nothing after the = is the default of a number and empty text of a text', async () => {
  const config = await loadText('[a]\nsize =\nname =\nmaybe =\n')
  const settings = config.read('a', {
    size: integer('size', { help: '', default: 5 }),
    name: text('name', { help: '', default: 'x' }),
    maybe: optionalText('maybe', { help: '' }),
  })
  assert.deepEqual(settings, { size: 5, name: '', maybe: undefined })
  config.check()
})

test('names with dashes, Windows line ends and a byte order mark are understood', async () => {
  const config = await loadText('\uFEFF[a]\r\nuse-ssl = true\r\n\r\n# end\r\n')
  assert.deepEqual(config.read('a', { ssl: boolean('use_ssl', { help: '' }) }), { ssl: true })
  assert.deepEqual(config.check().warnings, [])
})

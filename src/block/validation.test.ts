import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from 'typebox'
import { LaxBoolean, Metadata, Name, validator } from './validation.ts'

const body = validator(
  Type.Object({
    volume: Type.Object({
      name: Type.Optional(Name),
      shared: Type.Optional(Type.Union([LaxBoolean, Type.Null()])),
      metadata: Type.Optional(Type.Union([Metadata, Type.Null()])),
      connector: Type.Optional(Type.Union([Type.Object({}), Type.Null()])),
      host: Type.Optional(Type.String({ minLength: 1, maxLength: 3 })),
      count: Type.Optional(Type.Integer()),
    }),
  }),
)

const complaints: readonly (readonly [value: unknown, sentence: string])[] = [
  [undefined, "None is not of type 'object'"],
  [[], "Invalid input for field/attribute body. Value: []. [] is not of type 'object'"],
  [{}, "Invalid input for field/attribute body. 'volume' is a required property"],
  [{ volume: { name: 5 } }, "An invalid 'name' value was provided. 5 is not of type 'string'"],
  [
    { volume: { shared: 'maybe' } },
    'Invalid input for field/attribute shared. Value: maybe. maybe is not a boolean',
  ],
  [
    { volume: { metadata: 'none' } },
    'Invalid input for field/attribute metadata. Value: none. none is not an object of strings with valid keys',
  ],
  [
    { volume: { metadata: { key: 5 } } },
    'Invalid input for field/attribute metadata. Value: {"key":5}. {"key":5} is not an object of strings with valid keys',
  ],
  [
    { volume: { connector: 5 } },
    'Invalid input for field/attribute connector. Value: 5. 5 is not valid under any of the given schemas',
  ],
  [{ volume: { host: '' } }, 'Invalid input for field/attribute host. Value: .  is too short'],
  [{ volume: { host: 'long' } }, 'Invalid input for field/attribute host. Value: long. long is too long'],
  [
    { volume: { count: 'x' } },
    "Invalid input for field/attribute count. Value: x. x is not of type 'integer'",
  ],
]

for (const [value, sentence] of complaints) {
  test(`${JSON.stringify(value)} is refused with a sentence that says why`, () => {
    assert.throws(() => body.check(value), { message: sentence })
  })
}

test('what fits is handed back as it is', () => {
  const value = { volume: { shared: 'yes', metadata: null, connector: {}, count: 1 } }
  assert.equal(body.check(value), value)
})

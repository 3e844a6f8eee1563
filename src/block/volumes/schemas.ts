import { type Static, Type } from 'typebox'
import { closed, LaxBoolean, Metadata, Name, UuidOrNull, validator } from '../validation.ts'

/** Largest size on the wire: what a signed 32-bit column holds upstream. */
const largestGib = 2_147_483_647

const text = Type.Union([Type.String({ maxLength: 255 }), Type.Null()], {
  description: 'is not text of at most 255 characters',
})

const createFields = {
  name: Type.Optional(Name),
  display_name: Type.Optional(Name),
  description: Type.Optional(Name),
  display_description: Type.Optional(Name),
  size: Type.Optional(
    Type.Union(
      [Type.Null(), Type.Integer({ minimum: 1, maximum: largestGib }), Type.String({ pattern: '^[0-9]+$' })],
      {
        description: 'must be an integer and greater than 0',
        integerRange: [1, largestGib],
      },
    ),
  ),
  volume_type: Type.Optional(text),
  metadata: Type.Optional(Type.Union([Metadata, Type.Null()])),
  availability_zone: Type.Optional(text),
  snapshot_id: Type.Optional(UuidOrNull),
  source_volid: Type.Optional(UuidOrNull),
  imageRef: Type.Optional(text),
  image_id: Type.Optional(text),
  consistencygroup_id: Type.Optional(UuidOrNull),
  group_id: Type.Optional(UuidOrNull),
  backup_id: Type.Optional(UuidOrNull),
  multiattach: Type.Optional(Type.Union([LaxBoolean, Type.Null()])),
}

const hints = Type.Optional(Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()]))
const outside = { 'OS-SCH-HNT:scheduler_hints': hints, scheduler_hints: hints }

const OpenCreateVolume = closed({ volume: Type.Object(createFields), ...outside })
const ClosedCreateVolume = closed({ volume: closed(createFields), ...outside })

export type CreateVolume = Static<typeof OpenCreateVolume>['volume']

const openCreateVolume = validator(OpenCreateVolume)
const closedCreateVolume = validator(ClosedCreateVolume)

/** The inner object ignores unknown keys below 3.53. @see specification 1.2 */
export const createVolumeBody = (minor: number) => (minor >= 53 ? closedCreateVolume : openCreateVolume)

const updateFields = {
  name: Type.Optional(Name),
  display_name: Type.Optional(Name),
  description: Type.Optional(Name),
  display_description: Type.Optional(Name),
  metadata: Type.Optional(Type.Union([Metadata, Type.Null()])),
}

export const updateVolumeBody = validator(closed({ volume: closed(updateFields) }))
export type UpdateVolume = Static<ReturnType<typeof Type.Object<typeof updateFields>>>

export const metadataBody = validator(closed({ metadata: Metadata }))
export const metadataItemBody = validator(closed({ meta: Metadata }))

/** What actions without arguments have under their key: anything, mostly null or an empty object. */
export const noArgument = validator(Type.Union([Type.Object({}), Type.Null(), Type.String()]))

export const extendArgument = validator(
  closed({
    new_size: Type.Union(
      [Type.Integer({ minimum: 1, maximum: largestGib }), Type.String({ pattern: '^[0-9]+$' })],
      {
        description: 'must be an integer and greater than 0',
        integerRange: [1, largestGib],
      },
    ),
  }),
)

export const attachArgument = validator(
  closed({
    instance_uuid: Type.Optional(UuidOrNull),
    host_name: Type.Optional(text),
    mountpoint: Type.String({ minLength: 1, maxLength: 255, description: 'is not a mount point' }),
    mode: Type.Optional(
      Type.Union([Type.Literal('rw'), Type.Literal('ro')], { description: "is not one of ['rw', 'ro']" }),
    ),
  }),
)

export const detachArgument = validator(
  Type.Union([closed({ attachment_id: Type.Optional(UuidOrNull) }), Type.Null()]),
)

const connector = Type.Record(Type.String(), Type.Unknown(), { description: "is not of type 'object'" })

export const connectorArgument = validator(closed({ connector }))
export const optionalConnectorArgument = validator(
  closed({ connector: Type.Optional(Type.Union([connector, Type.Null()])) }),
)
export const forceDetachArgument = validator(
  closed({
    attachment_id: Type.Optional(UuidOrNull),
    connector: Type.Optional(Type.Union([connector, Type.Null()])),
  }),
)

export const bootableArgument = validator(closed({ bootable: LaxBoolean }))
export const readonlyArgument = validator(closed({ readonly: LaxBoolean }))

const statusText = Type.Optional(Type.Union([Type.String({ maxLength: 255 }), Type.Null()]))
export const resetStatusArgument = validator(
  closed({ status: statusText, attach_status: statusText, migration_status: statusText }),
)

export const setImageMetadataArgument = validator(
  closed({
    metadata: Type.Record(
      Type.String({ pattern: '^[a-zA-Z0-9\\-_:. ]{1,255}$' }),
      Type.String({ maxLength: 65_535 }),
      {
        additionalProperties: false,
        description: 'is not an object of strings with valid keys',
      },
    ),
  }),
)
export const unsetImageMetadataArgument = validator(
  closed({ key: Type.String({ minLength: 1, maxLength: 255 }) }),
)

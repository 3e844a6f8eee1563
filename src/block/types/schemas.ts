import { type Static, Type } from 'typebox'
import { closed, ExtraSpecs, LaxBoolean, Name, validator } from '../validation.ts'

const typeName = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: '\\S',
  description: 'is not a valid name',
})

export const createTypeBody = validator(
  closed({
    volume_type: closed({
      name: typeName,
      description: Type.Optional(Name),
      extra_specs: Type.Optional(Type.Union([ExtraSpecs, Type.Null()])),
      'os-volume-type-access:is_public': Type.Optional(LaxBoolean),
    }),
  }),
)

const UpdateTypeBody = closed({
  volume_type: closed({
    name: Type.Optional(Type.Union([Type.String({ maxLength: 255 }), Type.Null()])),
    description: Type.Optional(Name),
    is_public: Type.Optional(LaxBoolean),
  }),
})
export type UpdateType = Static<typeof UpdateTypeBody>
export const updateTypeBody = validator(UpdateTypeBody)

export const extraSpecsBody = validator(closed({ extra_specs: ExtraSpecs }))
export const extraSpecItemBody = validator(ExtraSpecs)

export const projectArgument = validator(
  closed({ project: Type.String({ minLength: 1, maxLength: 255, description: 'is not a project id' }) }),
)

export const defaultTypeBody = validator(
  closed({ default_type: closed({ volume_type: Type.String({ minLength: 1, maxLength: 255 }) }) }),
)

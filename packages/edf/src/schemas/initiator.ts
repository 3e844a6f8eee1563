import { type Static, Type } from 'typebox'

/** A host. `tenant` is where the object lives, which may be an ancestor of the request's tenant. */
export const Initiator = Type.Object({
  path: Type.String(),
  /** IQN or EUI. */
  id: Type.String(),
  name: Type.String(),
  tenant: Type.Optional(Type.String()),
})
export type Initiator = Static<typeof Initiator>

/** An iSCSI name: iqn., eui. or naa. (RFC 7143 section 4.2.7.) */
export const InitiatorId = Type.String({
  pattern: '^(iqn\\.[0-9]{4}-[0-9]{2}\\.[^/\\s]{1,210}|eui\\.[0-9A-Fa-f]{16}|naa\\.[0-9A-Fa-f]{16,32})$',
})

/** `force` creates a tenant's own twin of an initiator that an ancestor tenant knows. */
export const CreateInitiator = Type.Object({
  id: InitiatorId,
  name: Type.String({ minLength: 1, maxLength: 255 }),
  force: Type.Optional(Type.Boolean()),
})
export type CreateInitiator = Static<typeof CreateInitiator>

/** Only the name can be changed. */
export const UpdateInitiator = Type.Object({
  name: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
})
export type UpdateInitiator = Static<typeof UpdateInitiator>

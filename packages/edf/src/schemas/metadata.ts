import { type Static, Type } from 'typebox'

/** A flat map of the user's own pairs, and nothing else. Written maps are merged into the stored one. */
export const Metadata = Type.Record(Type.String(), Type.Unknown())
export type Metadata = Static<typeof Metadata>

/** `PUT …/int_ecosystem_data`; the bare map is taken as well. */
export const IntEcosystemDataInput = Type.Object({ data: Metadata })
export type IntEcosystemDataInput = Static<typeof IntEcosystemDataInput>

/** Item of `GET /app_instance_int_ecosystem_data`; `name` is that of the app instance. */
export const AppInstanceIntEcosystemData = Type.Object({ name: Type.String(), data: Metadata })
export type AppInstanceIntEcosystemData = Static<typeof AppInstanceIntEcosystemData>

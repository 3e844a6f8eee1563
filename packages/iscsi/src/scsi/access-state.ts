/** Asymmetric logical unit access (ALUA): the states of a portal group, SPC-4 section 5.15.2. Set by this end alone. */
import type { CommandDefinition } from './command-table.ts'
import { Conditions, type Sense } from './sense.ts'

export const AccessState = {
  activeOptimized: 0,
  activeNonOptimized: 1,
  standby: 2,
  unavailable: 3,
  transitioning: 15,
} as const

export type AccessStateName = keyof typeof AccessState

/** Bits of the states a group can have (SPC-4 table 307): T, U, S, AN, AO. */
export const SUPPORTED_STATES = 0x80 | 0x08 | 0x04 | 0x02 | 0x01

/** Why a command does not run at a port in this state; undefined when it does. */
export function refusalIn(state: AccessStateName, command: CommandDefinition): Sense | undefined {
  if (state === 'activeOptimized' || state === 'activeNonOptimized') return undefined
  if (command.unconditional || command.inEveryState) return undefined
  if (state === 'standby') return Conditions.targetPortStandby
  return state === 'unavailable' ? Conditions.targetPortUnavailable : Conditions.targetPortTransition
}

export * from './device.ts'
export * from './initiator/index.ts'
export * from './target/index.ts'

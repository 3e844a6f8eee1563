/**
 * Sockets that read into one reused buffer. For outgoing connections Node has the `onread` option; for accepted
 * ones there is no public way, so the accepted handle is put into a socket of our own. Where a runtime does not
 * allow that, 'data' events do the same with an allocation for each read.
 */
import { Socket } from 'node:net'

/** Bytes of the buffer that every read of a connection lands in. */
const RECEIVE_BYTES = 65536

/** Bytes have arrived; the buffer is valid during the call. Returns false to pause until `socket.resume()`. */
export type Reader = (bytes: Buffer, length: number) => boolean

/** @param accepted from a server with `pauseOnConnect`; not to be used any more afterwards */
export function readWith(accepted: Socket, reader: Reader): Socket {
  const socket = adopt(accepted, reader) ?? readEvents(accepted, reader)
  socket.setNoDelay(true)
  socket.setKeepAlive(true, 30_000)
  return socket
}

function adopt(accepted: Socket, reader: Reader): Socket | undefined {
  const handle: unknown = Reflect.get(accepted, '_handle')
  if (typeof handle !== 'object' || handle === null || !('useUserBuffer' in handle)) return undefined
  const buffer = Buffer.allocUnsafeSlow(RECEIVE_BYTES)
  const options = {
    // The types know another kind of handle only; a libuv stream is what the constructor has always taken.
    handle: handle as never,
    allowHalfOpen: false,
    onread: { buffer, callback: (length: number): boolean => reader(buffer, length) },
  }
  const socket = new Socket(options)
  // The first owner lets go without closing the handle.
  Reflect.set(accepted, '_handle', null)
  accepted.destroy()
  socket.resume()
  return socket
}

function readEvents(accepted: Socket, reader: Reader): Socket {
  accepted.on('data', (bytes: Buffer) => {
    if (!reader(bytes, bytes.byteLength)) accepted.pause()
  })
  accepted.resume()
  return accepted
}

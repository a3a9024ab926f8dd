// The frame of the 1.0.0 protocols: u32 big-endian length, then UTF-8 JSON. One request and one response a stream.
import { pause } from './commands.mjs'

// Longest frame that an existing program reads: 32 MiB as base64, with room for the rest.
export const FRAME_LIMIT = 48 * 1024 * 1024

export function frame (json) {
  const body = Buffer.from(typeof json === 'string' ? json : JSON.stringify(json))
  const head = Buffer.alloc(4)
  head.writeUInt32BE(body.length)
  return Buffer.concat([head, body])
}

// Reads a stream from its first byte on. To be made as soon as there is a stream.
export class Reader {
  #parts = []
  #held = 0
  #wake = () => {}
  // 'open', 'closed' (the other end wrote all it wanted to) or 'reset' (the stream was torn down).
  state = 'open'

  constructor (stream) {
    this.stream = stream
    stream.addEventListener('message', event => {
      const bytes = Buffer.from(event.data.subarray())
      this.#parts.push(bytes)
      this.#held += bytes.length
      this.#wake()
    })
    const over = state => {
      if (this.state === 'open') {
        this.state = state
        this.#wake()
      }
    }
    stream.addEventListener('remoteCloseWrite', () => over('closed'))
    stream.addEventListener('close', event => over(event.error == null ? 'closed' : 'reset'))
    if (stream.remoteWriteStatus === 'closed') {
      over(stream.status === 'reset' || stream.status === 'aborted' ? 'reset' : 'closed')
    }
  }

  get held () {
    return this.#held
  }

  async #changed (until) {
    const left = until - Date.now()
    if (left <= 0) {
      throw new Error(`no more came in time; ${this.#held} bytes are held, the stream is ${this.state}`)
    }
    let timer
    await new Promise(resolve => {
      this.#wake = resolve
      timer = setTimeout(resolve, left)
    })
    clearTimeout(timer)
  }

  async bytes (count, patienceMs) {
    const until = Date.now() + patienceMs
    while (this.#held < count) {
      if (this.state !== 'open') {
        // Bytes may be delivered a moment after the news of the end.
        await pause(10)
        if (this.#held >= count) break
        throw new Error(`the stream was ${this.state} after ${this.#held} of ${count} bytes`)
      }
      await this.#changed(until)
    }
    const all = Buffer.concat(this.#parts)
    this.#parts = [all.subarray(count)]
    this.#held -= count
    return all.subarray(0, count)
  }

  async frame (patienceMs = 60_000, limit = FRAME_LIMIT) {
    const until = Date.now() + patienceMs
    const length = (await this.bytes(4, patienceMs)).readUInt32BE()
    if (length > limit) {
      throw new Error(`a frame of ${length} bytes is announced, more than ${limit}`)
    }
    return JSON.parse((await this.bytes(length, until - Date.now())).toString())
  }

  // How the stream ended, or 'open' if it did not in this time.
  async end (patienceMs) {
    const until = Date.now() + patienceMs
    while (this.state === 'open' && Date.now() < until) {
      await this.#changed(until).catch(() => {})
    }
    return this.state
  }
}

// Writes bytes in pieces; resolves when the muxer has taken all, rejects when the stream ends before.
export async function write (stream, bytes, { piece = bytes.length, pauseMs = 0 } = {}) {
  for (let at = 0; at < bytes.length; at += piece) {
    stream.send(bytes.subarray(at, at + piece))
    if (at + piece < bytes.length) {
      // Without a turn of the event loop the muxer would join the pieces.
      await (pauseMs > 0 ? pause(pauseMs) : new Promise(resolve => setImmediate(resolve)))
    }
  }
  while (stream.writeBufferLength > 0) {
    if (stream.writeStatus !== 'writable') {
      throw new Error(`the stream was ${stream.status} with ${stream.writeBufferLength} bytes unsent`)
    }
    await pause(2)
  }
  if (stream.status === 'reset' || stream.status === 'aborted') {
    throw new Error(`the stream was ${stream.status} while it was written`)
  }
}

// The streams between nodes of the current version: retrieve and replicate 2.0.0, sync and proof 1.0.0, as an honest peer
// speaks them and as a liar does. A header is u32 big-endian length and a CBOR map (see HEADER), the bytes follow in
// pieces of u32 big-endian length each.
import { pause } from './commands.mjs'
import { decode, encode } from './cbor.mjs'
import { cidOf, content } from './content.mjs'
import { Reader, write } from './frames.mjs'
import { rootOf } from './proof-verifier.mjs'
import { prove } from './prover.mjs'

export const STREAMS = ['/bytecave/retrieve/2.0.0', '/bytecave/replicate/2.0.0', '/bytecave/sync/1.0.0', '/bytecave/proof/1.0.0']
const HEADER = { refused: 0, words: 1, cid: 2, from: 3, len: 4, size: 5, root: 6, type: 7, word: 8, nonce: 9, count: 10 }
const NOT_FOUND = 1
const WORD = { send: 1, alreadyStored: 2, stored: 3 }
const PIECE = 256 * 1024
// What an endless stream ends at, in case nobody stops it.
const ENDLESS_BYTES = 256 * 1024 * 1024

function framed (body) {
  const head = Buffer.alloc(4)
  head.writeUInt32BE(body.length)
  return Buffer.concat([head, body])
}

const headerFrame = fields => framed(encode(Object.fromEntries(
  Object.entries(fields).filter(([, value]) => value != null).map(([name, value]) => [HEADER[name], value])
)))

async function cborOf (reader, patienceMs = 30_000) {
  const length = (await reader.bytes(4, patienceMs)).readUInt32BE()
  return decode(await reader.bytes(length, patienceMs))
}

async function headerOf (reader, patienceMs) {
  const map = await cborOf(reader, patienceMs)
  return Object.fromEntries(Object.entries(HEADER).map(([name, key]) => [name, map[key]]))
}

async function writePieces (stream, bytes, pauseMs = 0) {
  for (let at = 0; at < bytes.length; at += PIECE) {
    await write(stream, framed(bytes.subarray(at, at + PIECE)))
    if (pauseMs > 0) await pause(pauseMs)
  }
}

async function readPieces (reader, count) {
  const parts = []
  for (let held = 0; held < count;) {
    const length = (await reader.bytes(4, 30_000)).readUInt32BE()
    if (length === 0) throw new Error(`the sender gave up after ${held} bytes`)
    parts.push(await reader.bytes(length, 30_000))
    held += length
  }
  return Buffer.concat(parts)
}

const flipped = bytes => Buffer.from(bytes.map(byte => byte ^ 1))

// Serves the streams. `blobs` are those of served.mjs; a `lie` of theirs counts here too: 'wrong bytes', 'late wrong
// bytes' (the last piece only), 'short', 'long', 'endless', 'wrong size', 'wrong root', 'cut off', 'silent', 'lost' (is
// listed and not given). Blobs with the lie 'passed on' are not kept: their proofs are made of what the node at the URL
// `source` gives at that moment.
export async function serveStreams (libp2p, blobs, asked, { privateKey, source }) {
  const open = new Set()
  const handle = (name, answer) => libp2p.handle(name, async (stream, connection) => {
    const reader = new Reader(stream)
    open.add(stream)
    try {
      await answer(stream, reader, connection.remotePeer.toString())
      await stream.close({ signal: AbortSignal.timeout(30_000) })
    } catch (err) {
      stream.abort(err)
    } finally {
      open.delete(stream)
    }
  }, { maxInboundStreams: 64, force: true })

  await handle(STREAMS[0], async (stream, reader, from) => {
    const request = await headerOf(reader)
    const cid = request.cid.toString('hex')
    asked.push({ name: 'retrieve/2.0.0', from, request: { cid, from: request.from ?? 0 } })
    const found = blobs.get(cid)
    if (found == null || found.lie === 'lost' || found.lie === 'passed on') {
      return write(stream, headerFrame({ refused: NOT_FOUND, words: 'Blob not found' }))
    }
    const { bytes, mimeType, lie } = found
    const start = request.from ?? 0
    const rest = bytes.subarray(start)
    const size = lie === 'wrong size' ? bytes.length + 1000 : bytes.length
    const root = lie === 'wrong root' ? Buffer.alloc(32, 7) : rootOf(bytes)
    if (lie === 'silent') {
      return new Promise(resolve => stream.addEventListener('close', resolve))
    }
    await write(stream, headerFrame({ from: start, len: size - start, size, root, type: mimeType }))
    switch (lie) {
      case 'wrong bytes': return writePieces(stream, flipped(rest))
      case 'late wrong bytes': return writePieces(stream, Buffer.concat([rest.subarray(0, -1), Buffer.from([rest.at(-1) ^ 1])]))
      case 'short': return writePieces(stream, rest.subarray(0, -1))
      case 'wrong size': return writePieces(stream, Buffer.concat([rest, Buffer.alloc(1000)]))
      case 'long': return writePieces(stream, Buffer.concat([rest, Buffer.alloc(1000)]))
      case 'cut off':
        await writePieces(stream, rest.subarray(0, rest.length / 2))
        throw new Error('cut off')
      case 'endless':
        await writePieces(stream, rest)
        for (let sent = 0; sent < ENDLESS_BYTES; sent += PIECE) {
          await write(stream, framed(Buffer.alloc(PIECE)))
        }
        return
      default: return writePieces(stream, rest)
    }
  })

  await handle(STREAMS[1], async (stream, reader, from) => {
    const { cid, size, type } = await headerOf(reader)
    const name = cid.toString('hex')
    asked.push({ name: 'replicate/2.0.0', from, request: { cid: name, size } })
    if (blobs.has(name)) {
      return write(stream, headerFrame({ word: WORD.alreadyStored }))
    }
    await write(stream, headerFrame({ word: WORD.send }))
    const bytes = await readPieces(reader, size)
    blobs.set(name, source() == null ? { bytes, mimeType: type } : { bytes: null, lie: 'passed on' })
    await write(stream, headerFrame({ word: WORD.stored }))
  })

  // Says that it has what the asker has: it seeks nothing, and has nothing to tell.
  await handle(STREAMS[2], async (stream, reader, from) => {
    const [kind, ...rest] = await cborOf(reader)
    asked.push({ name: 'sync/1.0.0', from, request: { kind } })
    const ranges = kind === 3 ? Array.from({ length: rest[2].length / 4 }, () => null) : []
    const answers = { 0: [0, true], 1: [1, []], 2: [2, []], 3: [3, ranges], 4: [4, 0] }
    await write(stream, framed(encode(answers[kind])))
  })

  await handle(STREAMS[3], async (stream, reader, from) => {
    const { cid, nonce, count } = await headerOf(reader)
    const name = cid.toString('hex')
    asked.push({ name: 'proof/1.0.0', from, request: { cid: name, count } })
    const found = blobs.get(name)
    const content = found?.lie === 'passed on' ? await fetched(name) : found?.bytes
    if (content == null || found.lie === 'lost') {
      return write(stream, headerFrame({ refused: NOT_FOUND, words: 'Blob not found' }))
    }
    const shown = found.lie === 'wrong bytes' ? flipped(content) : content
    await write(stream, framed(await prove(shown, { digest: cid, nonce, count }, privateKey)))
  })

  async function fetched (name) {
    const response = await fetch(`${source()}/retrieve/${name}`)
    return response.ok ? Buffer.from(await response.arrayBuffer()) : null
  }
}

// Commands of a peer that asks by these streams; `open` gives a stream to a node.
export function streamCommands (open) {
  const exchange = async (peer, name, talk) => {
    const stream = await open(peer, name)
    const reader = new Reader(stream)
    try {
      return await talk(stream, reader)
    } finally {
      stream.close({ signal: AbortSignal.timeout(5_000) }).catch(() => stream.abort(new Error('done')))
    }
  }
  const said = ({ refused, words, word, size }) => refused == null ? { word, size } : { refused, words }
  return {
    // Asks for a blob from some byte on.
    take: ({ peer, cid, from }) => exchange(peer, STREAMS[0], async (stream, reader) => {
      await write(stream, headerFrame({ cid: Buffer.from(cid, 'hex'), from }))
      const head = await headerOf(reader)
      if (head.refused != null) return said(head)
      const bytes = await readPieces(reader, head.len)
      return { size: head.size, from: head.from, sha256: cidOf(bytes), root: head.root.toString('hex') }
    }),
    // Sends a copy; with a `lie`: 'wrong bytes', 'wrong size', 'wrong root', 'short', 'endless'.
    give: ({ peer, content: which, lie }) => exchange(peer, STREAMS[1], async (stream, reader) => {
      const bytes = content(which)
      const size = lie === 'wrong size' ? bytes.length + 10 : bytes.length
      const root = lie === 'wrong root' ? Buffer.alloc(32, 7) : rootOf(bytes)
      await write(stream, headerFrame({ cid: Buffer.from(cidOf(bytes), 'hex'), size, root }))
      const first = await headerOf(reader)
      if (first.word !== WORD.send) return { first: said(first) }
      const sent = { 'wrong bytes': flipped(bytes), 'wrong size': Buffer.concat([bytes, Buffer.alloc(10)]), short: bytes.subarray(0, -1) }[lie] ?? bytes
      await writePieces(stream, sent).catch(() => {})
      if (lie === 'endless') {
        const more = async () => {
          for (let n = 0; n < ENDLESS_BYTES; n += PIECE) await write(stream, framed(Buffer.alloc(PIECE)))
        }
        await more().catch(() => {})
      }
      // Whoever has sent all closes its side: only then does the other end know that it was all.
      await stream.close({ signal: AbortSignal.timeout(5_000) }).catch(() => {})
      const last = await headerOf(reader).catch(err => ({ refused: -1, words: `${err.name}: ${err.message}` }))
      return { first: said(first), last: said(last) }
    }),
    // Says that it has these, given by content or by name, and whether the node wants them.
    offer: ({ peer, shard, cids }) => exchange(peer, STREAMS[2], async (stream, reader) => {
      await write(stream, framed(encode([4, shard, Buffer.concat(cids.map(cid => Buffer.from(cid, 'hex')))])))
      const answer = await cborOf(reader)
      return Array.isArray(answer) ? { wanted: answer[1] } : { refused: answer[HEADER.refused], words: answer[HEADER.words] }
    })
  }
}

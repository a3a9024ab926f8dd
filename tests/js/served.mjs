// The 1.0.0 protocols as an existing node serves them, and as a liar does.
import { cidOf, content, told } from './content.mjs'
import { frame, FRAME_LIMIT, Reader, write } from './frames.mjs'
import { serveStreams, STREAMS as CURRENT } from './streams.mjs'

export const PREFIX = '/bytecave/'
const VERSION = '1.0.0'
// What an endless answer ends at, in case nobody stops it.
const ENDLESS_BYTES = 256 * 1024 * 1024
// As the existing programs have it.
const STREAMS = 32

// `more` are fields that info gives beside those of an existing node; with `current` among them it is a node of the
// current version too, and serves the streams of streams.mjs; `privateKey` is the peer's.
export async function serveProtocols (libp2p, privateKey, { current = false, ...more } = {}) {
  // cid → { bytes, mimeType, lie }
  const blobs = new Map()
  // Every request that came, by protocol; long fields told by size and hash.
  const asked = []
  // Where the bytes come from of blobs that this peer only passes on.
  let source = null
  const started = Date.now()
  const peerId = libp2p.peerId.toString()
  const publicKey = '0x' + Buffer.from(libp2p.peerId.publicKey.raw).toString('hex')

  const sizes = () => [...blobs.values()].reduce((sum, { bytes }) => sum + (bytes?.length ?? 0), 0)
  const health = () => ({
    peerId,
    status: 'healthy',
    blobCount: blobs.size,
    storageUsed: sizes(),
    storageMax: 10 ** 10,
    uptime: Date.now() - started,
    version: VERSION,
    multiaddrs: libp2p.getMultiaddrs().map(String),
    nodeId: `js-${peerId.slice(-8)}`,
    publicKey,
    metrics: { requestsLastHour: asked.length, avgResponseTime: 1, successRate: 1 }
  })
  // An existing node says nothing of shards.
  const protocols = current ? { protocols: ['/bytecave/info/1.0.0', '/bytecave/blob/1.0.0', ...CURRENT] } : {}
  const info = () => ({ peerId, publicKey, version: VERSION, ...protocols, ...more })
  const haveList = ({ cids, limit = 100, offset = 0 }) => {
    const all = [...blobs.keys()]
    if (cids != null) {
      return { cids: cids.filter(cid => blobs.has(cid)), total: all.length, hasMore: false }
    }
    return { cids: all.slice(offset, offset + limit), total: all.length, hasMore: offset + limit < all.length }
  }
  const blob = ({ cid }) => {
    const found = blobs.get(cid)
    if (found == null || found.lie === 'passed on') {
      return { success: false, error: 'Blob not found' }
    }
    const { bytes, mimeType } = found
    const answer = given => ({ success: true, ciphertext: given.toString('base64'), mimeType })
    switch (found.lie) {
      case undefined: return answer(bytes)
      case 'wrong bytes': return answer(Buffer.from(bytes.map(byte => byte ^ 1)))
      case 'short': return answer(bytes.subarray(0, bytes.length - 1))
      case 'long': return answer(Buffer.concat([bytes, Buffer.from('x')]))
      case 'refused': return { success: false, error: 'Invalid request' }
      case 'no base64': return { success: true, ciphertext: '%%%', mimeType }
      default: return { lie: found.lie }
    }
  }
  const replicate = ({ cid, ciphertext, mimeType }) => {
    const bytes = Buffer.from(ciphertext ?? '', 'base64')
    if (cidOf(bytes) !== cid) {
      return { success: false, error: 'CID mismatch' }
    }
    const alreadyStored = blobs.has(cid)
    blobs.set(cid, { bytes, mimeType })
    return { success: true, alreadyStored }
  }

  const handle = async (name, answer) => {
    const protocol = `${PREFIX}${name}/1.0.0`
    await libp2p.handle(protocol, async (stream, connection) => {
      const reader = new Reader(stream)
      try {
        // The existing programs tolerate a request that is none where none is needed.
        const request = await reader.frame(30_000).catch(err => {
          if (name === 'health' || name === 'info') return {}
          throw err
        })
        asked.push({ name, from: connection.remotePeer.toString(), request: told(request) })
        const given = answer(request)
        if (given.lie != null) {
          await lie(stream, given.lie)
        } else {
          await write(stream, frame(given))
        }
        await stream.close({ signal: AbortSignal.timeout(30_000) })
      } catch (err) {
        stream.abort(err)
      }
    }, { maxInboundStreams: STREAMS, force: true })
  }
  await handle('health', health)
  await handle('info', info)
  await handle('have-list', haveList)
  await handle('blob', blob)
  await handle('retrieve', blob)
  await handle('replicate', replicate)
  if (current) {
    await serveStreams(libp2p, blobs, asked, { privateKey, source: () => source })
  }

  return {
    // Keeps a blob, so that it is served from then on; with a `lie`, not as it is: 'wrong bytes', 'short', 'long',
    // 'refused', 'no base64', 'nonsense', 'cut off', 'too long', 'endless', 'silent'.
    hold: ({ content: which, mimeType = 'application/octet-stream', lie }) => {
      const bytes = content(which)
      const cid = cidOf(bytes)
      blobs.set(cid, { bytes, mimeType, lie })
      return { cid, size: bytes.length }
    },
    forget: ({ cid }) => blobs.delete(cid),
    // From now on copies are taken and not kept, and proved with what the node at this URL gives.
    passOn: ({ url }) => { source = url },
    // What was asked of this node, of one protocol or all.
    asked: ({ name }) => asked.filter(one => name == null || one.name === name)
  }
}

async function lie (stream, kind) {
  switch (kind) {
    case 'nonsense': return write(stream, frame('this is no JSON'))
    case 'cut off': return write(stream, frame(JSON.stringify({ success: true, ciphertext: 'AAAA' })).subarray(0, 20))
    case 'too long': {
      const head = Buffer.alloc(4)
      head.writeUInt32BE(FRAME_LIMIT * 80)
      return write(stream, Buffer.concat([head, Buffer.alloc(1000)]))
    }
    case 'endless': {
      const head = Buffer.alloc(4)
      head.writeUInt32BE(FRAME_LIMIT)
      await write(stream, Buffer.concat([head, Buffer.from('{"success":true,"ciphertext":"')]))
      const part = Buffer.alloc(64 * 1024, 'A')
      for (let sent = 0; sent < ENDLESS_BYTES; sent += part.length) {
        await write(stream, part)
      }
      return
    }
    case 'silent':
      return new Promise(resolve => stream.addEventListener('close', resolve))
    default: throw new Error(`no such lie: ${kind}`)
  }
}

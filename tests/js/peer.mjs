// A peer of the existing network: asks a node for all that the 1.0.0 protocols offer, well and badly, and serves
// the same. Options: those of `node` in libp2p.mjs, and `serve` (true, or further fields of its info).
import { peerIdFromString } from '@libp2p/peer-id'
import { authorize, account } from './account.mjs'
import { pause, run } from './commands.mjs'
import { cidOf, content, told } from './content.mjs'
import { frame, Reader, write } from './frames.mjs'
import { addresses, networkCommands, node } from './libp2p.mjs'
import { PREFIX, serveProtocols } from './served.mjs'
import { streamCommands } from './streams.mjs'

// How long an answer may take, and how long a stream may stay open after it.
const ANSWER_MS = 75_000
const END_MS = 15_000

run(async options => {
  const network = await node(options)
  const { libp2p } = network
  const served = options.serve ? await serveProtocols(libp2p, network.privateKey, options.serve === true ? {} : options.serve) : {}
  const held = []

  const open = async (peer, protocol, fully = false) => {
    const [connection] = libp2p.getConnections(peerIdFromString(peer)).filter(one => one.status === 'open' && one.limits == null)
    if (connection == null) {
      throw new Error(`there is no direct connection to ${peer}`)
    }
    const name = protocol.startsWith('/') ? protocol : `${PREFIX}${protocol}/1.0.0`
    return connection.newStream(name, { maxOutboundStreams: 10_000, negotiateFully: fully, signal: AbortSignal.timeout(30_000) })
  }

  // One request and its answer; `ended` is how the other end left the stream after it.
  const exchange = async (peer, protocol, bytes, { piece, pauseMs, half = false } = {}) => {
    const stream = await open(peer, protocol)
    const reader = new Reader(stream)
    try {
      // A node that refuses early may end the stream while this end still writes: its answer counts.
      const written = write(stream, bytes, { piece, pauseMs }).then(() => half && stream.close(), err => err)
      const answer = await reader.frame(ANSWER_MS).catch(async err => {
        const failed = await Promise.race([written, pause(100)])
        throw failed instanceof Error ? failed : err
      })
      const ended = await reader.end(END_MS)
      return { answer: told(answer), ended, beyond: reader.held }
    } finally {
      stream.close({ signal: AbortSignal.timeout(5_000) }).catch(() => stream.abort(new Error('done')))
    }
  }
  const tried = promise => promise.catch(err => ({ failed: `${err.name}: ${err.message}` }))

  const commands = {
    ...networkCommands(network),
    ...served,
    ...streamCommands(open),

    account: ({ by }) => account(by).address,
    // A signed store authorization for some content; see account.mjs.
    authorize: ({ content: which, ...how }) => authorize(content(which), how),
    cid: ({ content: which }) => cidOf(content(which)),

    // A request of any protocol. `request` is JSON, `raw` any text in a frame. `piece` and `pauseMs`: how it is cut up;
    // `half`: this end closes its side first. With `times`, so many in sequence, or all at once with `parallel`.
    call: async ({ peer, protocol, request = {}, raw, times, parallel = false, ...how }) => {
      const bytes = frame(raw ?? request)
      const once = () => exchange(peer, protocol, bytes, how)
      if (times == null) {
        return once()
      }
      if (parallel) {
        return Promise.all(Array.from({ length: times }, () => tried(once())))
      }
      const all = []
      for (let n = 0; n < times; n++) {
        all.push(await tried(once()))
      }
      return all
    },

    // Sends a blob by replicate or store; `fields` are added to the request or replace its own.
    push: async ({ peer, protocol = 'replicate', content: which, fields = {}, ...how }) => {
      const bytes = content(which)
      const request = {
        cid: cidOf(bytes),
        mimeType: 'application/octet-stream',
        ciphertext: bytes.toString('base64'),
        appId: 'tests',
        timestamp: Date.now(),
        ...fields
      }
      return { cid: cidOf(bytes), ...await exchange(peer, protocol, frame(request), how) }
    },

    // As the browser library stores: 64 KiB pieces, 10 ms apart, and no longer than it waits.
    browse: async ({ peer, content: which, by = 'browser', appId = 'tests', fields = {}, ...how }) => {
      const bytes = content(which)
      const authorization = authorize(bytes, { by, appId, ...how })
      const request = {
        cid: cidOf(bytes),
        mimeType: 'application/octet-stream',
        ciphertext: bytes.toString('base64'),
        appId,
        sender: authorization.sender,
        timestamp: authorization.timestamp,
        authorization,
        ...fields
      }
      const patience = 30_000 + 10_000 * bytes.length / 2 ** 20
      const late = pause(patience).then(() => { throw new Error(`the browser gave up after ${patience} ms`) })
      return Promise.race([exchange(peer, 'store', frame(request), { piece: 64 * 1024, pauseMs: 10 }), late])
    },

    // Bytes that are no request, in hex: what comes back, if anything, and how the stream ends.
    misbehave: async ({ peer, protocol, hex = '', half = false, waitMs = 60_000 }) => {
      const stream = await open(peer, protocol, true)
      const reader = new Reader(stream)
      await tried(write(stream, Buffer.from(hex, 'hex')))
      if (half) {
        await tried(stream.close({ signal: AbortSignal.timeout(5_000) }))
      }
      const answer = await tried(reader.frame(waitMs))
      const ended = await reader.end(waitMs)
      stream.abort(new Error('done'))
      return { answer: told(answer), ended }
    },

    // Opens streams and leaves them so: nothing is sent, or a whole request whose answer is never read.
    hold_open: async ({ peer, protocol, count, request }) => {
      const outcomes = await Promise.all(Array.from({ length: count }, () => tried(open(peer, protocol, true))))
      const streams = outcomes.filter(one => one.failed == null)
      for (const stream of streams) {
        if (request != null) {
          stream.pause()
          await tried(write(stream, frame(request)))
        }
        held.push(stream)
      }
      return { opened: streams.length, failed: outcomes.filter(one => one.failed != null).map(one => one.failed) }
    },
    // Waits until the node has ended all streams that were left open, and tells how they stand.
    held: async ({ waitMs = 0 } = {}) => {
      const begun = Date.now()
      const going = () => held.filter(stream => stream.status === 'open' && stream.remoteWriteStatus !== 'closed')
      while (going().length > 0 && Date.now() - begun < waitMs) {
        await pause(20)
      }
      return { open: going().length, ended: held.length - going().length }
    },
    release: () => held.splice(0).forEach(stream => stream.abort(new Error('released')))
  }
  return { ready: { peerId: libp2p.peerId.toString(), multiaddrs: addresses(libp2p) }, commands }
})

// A peer that speaks gossipsub by hand, to say what no honest library says. Options: those of `node` in libp2p.mjs.
import { randomBytes } from 'node:crypto'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey, peerIdFromString } from '@libp2p/peer-id'
import { pause, run } from './commands.mjs'
import { write } from './frames.mjs'
import { ANNOUNCE, addresses, networkCommands, node } from './libp2p.mjs'

const MESHSUB = '/meshsub/1.1.0'
// How long a write may wait for the node to read on.
const UNREAD_MS = 5_000
// Messages in one frame: well below what an honest node accepts as its largest.
const MESSAGES_A_FRAME = 20

// The few forms of protobuf that gossipsub's messages need.
const varint = n => {
  const bytes = []
  for (; n > 127; n = Math.floor(n / 128)) {
    bytes.push(n % 128 + 128)
  }
  return Buffer.from([...bytes, n])
}
const bytesField = (number, value) => {
  const bytes = Buffer.from(value)
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes])
}
const intField = (number, value) => Buffer.concat([varint(number * 8), varint(value)])
const framed = rpc => Buffer.concat([varint(rpc.length), rpc])

// A message signed as pubsub's StrictSign asks, by a key made for it.
async function signedBy (key, topic, json) {
  const unsigned = Buffer.concat([
    bytesField(1, peerIdFromPrivateKey(key).toMultihash().bytes),
    bytesField(2, JSON.stringify(json)),
    bytesField(3, randomBytes(8)),
    bytesField(4, topic)
  ])
  const signature = await key.sign(Buffer.concat([Buffer.from('libp2p-pubsub:'), unsigned]))
  return Buffer.concat([unsigned, bytesField(5, signature)])
}

run(async options => {
  const network = await node(options)
  const { libp2p } = network

  const stream = async peer => {
    const [connection] = libp2p.getConnections(peerIdFromString(peer))
    return connection.newStream(MESHSUB, { maxOutboundStreams: 10_000, signal: AbortSignal.timeout(30_000) })
  }
  // Sends frames of which some may come too late: a node that has had enough ends the stream.
  const send = async (peer, frames) => {
    const open = await stream(peer)
    let sent = 0
    try {
      const late = () => pause(UNREAD_MS).then(() => { throw new Error('the node reads no more of it') })
      for (const frame of frames) {
        await Promise.race([write(open, frame), late()])
        sent++
      }
      await pause(200)
    } catch (err) {
      return { sent, refused: `${err.name}: ${err.message}` }
    } finally {
      open.abort(new Error('done'))
    }
    return { sent, refused: null }
  }

  const commands = {
    ...networkCommands(network),
    // So many peers that nobody has ever met announce themselves, each signing for itself.
    strangers: async ({ peer, count }) => {
      const frames = []
      for (let begun = 0; begun < count; begun += MESSAGES_A_FRAME) {
        const messages = []
        for (let n = begun; n < Math.min(count, begun + MESSAGES_A_FRAME); n++) {
          const key = await generateKeyPair('Ed25519')
          const peerId = peerIdFromPrivateKey(key).toString()
          messages.push(bytesField(2, await signedBy(key, ANNOUNCE, {
            peerId,
            nodeId: `stranger-${n}`,
            availableStorage: 1,
            blobCount: 1,
            timestamp: Date.now(),
            relayAddrs: [],
            multiaddrs: [`/ip4/203.0.113.${n % 250}/tcp/${1000 + n}/p2p/${peerId}`],
            isRegistered: true
          })))
        }
        frames.push(framed(Buffer.concat(messages)))
      }
      return send(peer, frames)
    },
    // Subscribes to so many topics.
    topics: ({ peer, count }) => send(peer, Array.from({ length: count }, (_, n) =>
      framed(bytesField(1, Buffer.concat([intField(1, 1), bytesField(2, `topic ${n} ${'x'.repeat(200)}`)]))))),
    // So many control messages: messages it has, messages it wants, grafts of topics.
    control: ({ peer, count }) => send(peer, Array.from({ length: count }, () => {
      const have = bytesField(1, Buffer.concat([bytesField(1, ANNOUNCE), ...Array.from({ length: 50 }, () => bytesField(2, randomBytes(40)))]))
      const want = bytesField(2, Buffer.concat(Array.from({ length: 50 }, () => bytesField(1, randomBytes(40)))))
      const graft = bytesField(3, bytesField(1, `graft ${randomBytes(8).toString('hex')}`))
      return framed(bytesField(3, Buffer.concat([have, want, graft])))
    })),
    // A frame that says it is this long and never ends.
    endless: ({ peer, count }) => send(peer, [varint(2 ** 31), ...Array.from({ length: count }, () => Buffer.alloc(64 * 1024, 1))])
  }
  return { ready: { peerId: libp2p.peerId.toString(), multiaddrs: addresses(libp2p) }, commands }
})

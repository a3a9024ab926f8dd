// A js-libp2p node as the existing network runs it: TCP and WebSocket, Noise, yamux, identify, signed gossipsub,
// circuit relay v2, Kademlia for finding peers.
import { createHash } from 'node:crypto'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { generateKeyPair, generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { webSockets } from '@libp2p/websockets'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { until } from './commands.mjs'

export const ANNOUNCE = 'bytecave-announce'
export const BROADCAST = 'bytecave-broadcast'

// Messages that are remembered, the oldest forgotten first.
const HEARD_LIMIT = 2000

// Options: `listen` (multiaddresses), `seed` (of the key; absent, a new one), `relay` (be one), `subscribe` (false:
// no topics), `dht` (false: none), `window` (most bytes of a stream's receive window).
export async function node ({ listen = [], seed, relay = false, subscribe = true, dht = true, window, agent = 'bytecave-js/1.0.0' }) {
  const privateKey = seed == null
    ? await generateKeyPair('Ed25519')
    : await generateKeyPairFromSeed('Ed25519', createHash('sha256').update(`peer ${seed}`).digest())
  const libp2p = await createLibp2p({
    privateKey,
    nodeInfo: { userAgent: agent },
    addresses: { listen },
    transports: [tcp(), webSockets(), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux(window == null ? {} : { streamOptions: { maxStreamWindowSize: window } })],
    // All of them are on this machine: limits for each address would count them as one.
    connectionManager: { inboundConnectionThreshold: Infinity, maxIncomingPendingConnections: 1000 },
    services: {
      identify: identify(),
      ping: ping(),
      pubsub: gossipsub({ allowPublishToZeroTopicPeers: true, fallbackToFloodsub: true }),
      ...(dht ? { dht: kadDHT({ protocol: '/ipfs/kad/1.0.0', clientMode: false, peerInfoMapper: passthroughMapper }) } : {}),
      ...(relay ? { relay: circuitRelayServer({ reservations: { maxReservations: 100 } }) } : {})
    }
  })

  // Every connection that ended, and how.
  const lost = []
  libp2p.addEventListener('connection:close', ({ detail: connection }) => {
    lost.push({ peer: connection.remotePeer.toString(), id: connection.id, address: connection.remoteAddr.toString() })
  })
  const heard = []
  libp2p.services.pubsub.addEventListener('message', ({ detail }) => {
    heard.push({
      topic: detail.topic,
      from: detail.type === 'signed' ? detail.from.toString() : null,
      size: detail.data.length,
      message: parsed(detail.data)
    })
    if (heard.length > HEARD_LIMIT) {
      heard.shift()
    }
  })
  if (subscribe) {
    libp2p.services.pubsub.subscribe(ANNOUNCE)
    libp2p.services.pubsub.subscribe(BROADCAST)
  }
  await libp2p.start()
  return { libp2p, privateKey, lost, heard }
}

function parsed (data) {
  try {
    return JSON.parse(Buffer.from(data).toString())
  } catch {
    return null
  }
}

export const addresses = libp2p => libp2p.getMultiaddrs().map(address => address.toString())

// The commands that any node has.
export function networkCommands ({ libp2p, lost, heard }) {
  const pubsub = libp2p.services.pubsub
  return {
    // Dials an address, or a peer whose addresses are known; `again` makes another connection beside the first.
    connect: async ({ to, again = false }) => {
      const target = to.startsWith('/') ? multiaddr(to) : peerIdFromString(to)
      const connection = await libp2p.dial(target, { force: again, signal: AbortSignal.timeout(30_000) })
      return { peer: connection.remotePeer.toString(), ...about(connection) }
    },
    disconnect: async ({ peer }) => libp2p.hangUp(peerIdFromString(peer)),
    // Connections to a peer: those that stand, and those that ended since the start.
    connections: ({ peer }) => ({
      open: libp2p.getConnections(peerIdFromString(peer)).map(about),
      lost: lost.filter(one => one.peer === peer)
    }),
    peers: () => libp2p.getPeers().map(peer => peer.toString()),
    addresses: () => addresses(libp2p),
    // What identify told of a peer.
    identified: ({ peer }) => until(`identify of ${peer}`, async () => {
      const known = await libp2p.peerStore.get(peerIdFromString(peer)).catch(() => null)
      const agent = known?.metadata.get('AgentVersion')
      return agent != null && known.protocols.length > 0 && {
        agent: Buffer.from(agent).toString(),
        version: Buffer.from(known.metadata.get('ProtocolVersion') ?? '').toString(),
        protocols: known.protocols,
        addresses: known.addresses.map(({ multiaddr }) => multiaddr.toString())
      }
    }),
    ping: ({ peer }) => libp2p.services.ping.ping(peerIdFromString(peer), { signal: AbortSignal.timeout(30_000) }),
    // Asks the hash table for the addresses of a peer.
    find: async ({ peer }) => {
      const found = await libp2p.peerRouting.findPeer(peerIdFromString(peer), { signal: AbortSignal.timeout(30_000) })
      return found.multiaddrs.map(address => address.toString())
    },
    // Waits until a peer is subscribed to a topic here.
    subscribed: ({ topic = ANNOUNCE, peer }) => until(`${peer} to subscribe to ${topic}`,
      () => pubsub.getSubscribers(topic).some(one => one.toString() === peer)),
    // Publishes `message` (JSON), or `size` bytes of nothing, so many `times`; `{n}` in texts becomes the number.
    publish: async ({ topic = ANNOUNCE, message, size, times = 1 }) => {
      let reached = 0
      let failed = null
      for (let n = 0; n < times; n++) {
        const data = size == null
          ? Buffer.from(JSON.stringify(message).replaceAll('{n}', String(n)))
          : Buffer.alloc(size, 32)
        try {
          const { recipients } = await pubsub.publish(topic, data)
          reached = Math.max(reached, recipients.length)
        } catch (err) {
          failed = `${err.name}: ${err.message}`
        }
      }
      return { reached, failed }
    },
    // Waits until so many messages of a topic came from a peer; gives them, the oldest first.
    heard: ({ topic = ANNOUNCE, from, least = 1 }) => until(`${least} messages on ${topic} from ${from ?? 'anyone'}`, () => {
      const found = heard.filter(one => one.topic === topic && (from == null || one.from === from))
      return found.length >= least && found
    })
  }
}

const about = connection => ({
  id: connection.id,
  address: connection.remoteAddr.toString(),
  limited: connection.limits != null
})

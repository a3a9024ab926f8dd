// The relay of the existing network, in the form that the tests need: circuit relay v2, announcements, the list of
// peers, and the storage links with the browser's side of them. Options: those of `node` in libp2p.mjs, and `link`
// (port of the storage links; 0 for any) and `linkHost` (their address; this machine's loopback unless told).
import { run } from './commands.mjs'
import { authorize, account } from './account.mjs'
import { content, cidOf } from './content.mjs'
import { frame } from './frames.mjs'
import { addresses, networkCommands, node } from './libp2p.mjs'
import { linkServer } from './link.mjs'

run(async options => {
  const network = await node({ ...options, relay: true })
  const { libp2p, heard } = network
  const link = await linkServer(options.link ?? 0, options.linkHost)

  await libp2p.handle('/bytecave/relay/peers/1.0.0', async stream => {
    const registered = link.nodes()
    const last = new Map(heard.filter(one => one.from != null).map(one => [one.from, one.message]))
    const peers = libp2p.getPeers().map(peer => {
      const peerId = peer.toString()
      const announced = last.get(peerId)
      return {
        peerId,
        multiaddrs: [...announced?.relayAddrs ?? [], ...announced?.multiaddrs ?? []],
        lastSeen: Date.now(),
        isRegistered: registered.find(one => one.peerId === peerId)?.isRegistered ?? announced?.isRegistered ?? false
      }
    })
    stream.send(frame({ peers, timestamp: Date.now() }))
    await stream.close({ signal: AbortSignal.timeout(5_000) }).catch(() => {})
  })

  return {
    ready: { peerId: libp2p.peerId.toString(), multiaddrs: addresses(libp2p), link: link.url() },
    commands: {
      ...networkCommands(network),
      account: ({ by }) => account(by).address,
      authorize: ({ content: which, ...how }) => authorize(content(which), { link: true, ...how }),
      cid: ({ content: which }) => cidOf(content(which)),
      reservations: () => [...libp2p.services.relay.reservations.keys()].map(String),
      ...link.commands
    }
  }
})

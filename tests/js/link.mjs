// The storage links: nodes connect by WebSocket and register; what a browser wants is sent to one of them, whatever
// it says of its registration, and what was sent and answered is told to the test.
import { WebSocketServer } from 'ws'
import { until } from './commands.mjs'
import { content, told } from './content.mjs'

// As long as the browser library waits.
const BROWSER_MS = 30_000
const FRAME_LIMIT = 64 * 1024 * 1024

export async function linkServer (port, host = '127.0.0.1') {
  let server
  let mute = false
  let requests = 0
  // peerId → { registration, socket }
  const nodes = new Map()
  const waiting = new Map()
  // Every registration since the start, and every other text that came.
  const registrations = []
  const others = []

  const hear = (socket, text) => {
    let message
    try {
      message = JSON.parse(text)
    } catch {
      others.push(text.slice(0, 200))
      return
    }
    if (message.type === 'register') {
      registrations.push(message)
      if (mute) return
      nodes.set(message.peerId, { registration: message, socket })
      socket.send(JSON.stringify({ type: 'registered', peerId: message.peerId, timestamp: Date.now() }))
      return
    }
    // The browser ignores type "error", and so it is no answer here.
    const answered = waiting.get(message.requestId)
    if (/^(storage|retrieve)-response$/.test(message.type) && answered?.type === message.type) {
      waiting.delete(message.requestId)
      answered.resolve(message)
    } else {
      others.push(told(message))
    }
  }

  const listen = async at => {
    server = new WebSocketServer({ host, port: at, maxPayload: FRAME_LIMIT })
    server.on('connection', socket => {
      socket.on('message', data => hear(socket, data.toString()))
      socket.on('error', err => console.error('storage link:', err.message))
      socket.on('close', () => {
        for (const [peerId, one] of nodes) {
          if (one.socket === socket) nodes.delete(peerId)
        }
      })
    })
    await new Promise((resolve, reject) => server.once('listening', resolve).once('error', reject))
    return server.address().port
  }
  const bound = await listen(port)

  const linked = peer => {
    const found = peer == null ? [...nodes.values()][0] : nodes.get(peer)
    if (found == null) {
      throw new Error(`no storage link of ${peer ?? 'any node'}`)
    }
    return found.socket
  }
  // Sends a request to a node and gives its answer, or fails as the browser does.
  const request = (peer, type, fields) => {
    const requestId = `request-${++requests}`
    const socket = linked(peer)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(requestId)
        reject(new Error(`no ${type}-response to ${requestId} within ${BROWSER_MS} ms`))
      }, BROWSER_MS)
      waiting.set(requestId, {
        type: `${type}-response`,
        resolve: message => {
          clearTimeout(timer)
          resolve(message)
        }
      })
      socket.send(JSON.stringify({ type: `${type}-request`, requestId, ...fields }))
    })
  }

  return {
    url: () => `ws://${host}:${bound}`,
    nodes: () => [...nodes.values()].map(one => one.registration),
    commands: {
      // Waits until a node (or any) has a standing link, registered so often since the start; gives its last registration.
      registered: ({ peer, times = 1 }) => until(`registration ${times} of ${peer ?? 'a node'}`, () => {
        const all = registrations.filter(one => peer == null || one.peerId === peer)
        const standing = [...nodes.values()].some(one => peer == null || one.registration.peerId === peer)
        return standing && all.length >= times && all.at(-1)
      }),
      // What a browser's store() and retrieve() have sent to a node.
      link_store: async ({ peer, content: which, contentType = 'application/octet-stream', authorization, fields = {} }) =>
        told(await request(peer, 'storage', { data: content(which).toString('base64'), contentType, authorization, ...fields })),
      link_retrieve: async ({ peer, cid, fields = {} }) => told(await request(peer, 'retrieve', { cid, ...fields })),
      // Any text, as a hostile relay may send it.
      link_text: ({ peer, text, times = 1 }) => {
        for (let n = 0; n < times; n++) linked(peer).send(text)
      },
      // What came beside registrations and answers.
      link_others: () => others,
      // Ends the standing links; `abruptly` without a word.
      link_drop: ({ abruptly = false }) => {
        for (const { socket } of nodes.values()) abruptly ? socket.terminate() : socket.close()
      },
      link_mute: ({ on }) => { mute = on },
      // Takes the server away, and back on the same port.
      link_stop: async () => {
        server.clients.forEach(client => client.terminate())
        await new Promise(resolve => server.close(resolve))
      },
      link_start: async () => { await listen(bound) }
    }
  }
}

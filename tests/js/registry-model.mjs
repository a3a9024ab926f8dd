// What VaultNodeRegistry.sol promises, as a few lists and maps, and a walk in which the contract has to do as they do.
import { createHash } from 'node:crypto'
import { deepEqual, equal, ok } from 'node:assert/strict'
import { keccak_256 } from '@noble/hashes/sha3.js'
import { plain } from './chain.mjs'

const hex = bytes => `0x${Buffer.from(bytes).toString('hex')}`

export const NOBODY = `0x${'00'.repeat(20)}`
export const NOTHING = `0x${'00'.repeat(32)}`
export const MAX_URL_LENGTH = 512n
export const MAX_VERSION_LENGTH = 64n

export const sha256 = text => createHash('sha256').update(text).digest()

// Keys, hashes and URLs by number; the URLs are of one length.
export const keyOf = n => sha256(`key ${n}`)
export const nodeIdOf = key => hex(keccak_256(key))
export const metadataOf = n => sha256(`metadata ${n}`)
export const urlOf = n => `/ip4/203.0.113.${100 + n % 156}/tcp/5011/p2p/12D3KooWMv3qoCBUFj7LPMyYsYhHQpyLoPqhsLpSsnSnpbnsgsBS`

const utf8Length = text => BigInt(Buffer.byteLength(text))

export class Model {
  #entries = new Map()
  #nodeOf = new Map()
  #all = []
  #minVersion = ''
  #deployer

  constructor (deployer) {
    this.#deployer = deployer
  }

  // What happens when this account calls this: {event: [name, fields]}, or {error, args}.
  does (from, method, input, time) {
    return this[method](from, input, time)
  }

  registerNode (owner, { publicKey, url, metadataHash }, registeredAt) {
    const length = BigInt(publicKey.length)
    if (length !== 32n) return { error: 'WrongKeyLength', args: { expected: 32n, actual: length } }
    const wrong = this.#wrongUrl(url)
    if (wrong) return wrong
    if (this.#nodeOf.has(owner)) return { error: 'OwnerHasNode', args: this.#nodeOf.get(owner) }
    const nodeId = nodeIdOf(publicKey)
    const before = this.#entries.get(nodeId)
    if (before?.active) return { error: 'NodeHasOwner', args: { nodeId, owner: before.owner } }
    if (!before) this.#all.push(nodeId)
    const entry = { owner, publicKey: hex(publicKey), url, metadataHash: hex(metadataHash), registeredAt, active: true }
    this.#entries.set(nodeId, entry)
    this.#nodeOf.set(owner, nodeId)
    return { event: ['NodeRegistered', { nodeId, owner }] }
  }

  updateNode (owner, { url, metadataHash }) {
    const nodeId = this.#nodeOf.get(owner)
    if (!nodeId) return { error: 'NoNode', args: owner }
    const wrong = this.#wrongUrl(url)
    if (wrong) return wrong
    Object.assign(this.#entries.get(nodeId), { url, metadataHash: hex(metadataHash) })
    return { event: ['NodeUpdated', { nodeId }] }
  }

  unregisterNode (owner) {
    const nodeId = this.#nodeOf.get(owner)
    if (!nodeId) return { error: 'NoNode', args: owner }
    this.#entries.get(nodeId).active = false
    this.#nodeOf.delete(owner)
    return { event: ['NodeUnregistered', { nodeId }] }
  }

  setMinVersion (caller, version) {
    const length = utf8Length(version)
    if (caller !== this.#deployer) return { error: 'NotDeployer', args: caller }
    if (length > MAX_VERSION_LENGTH) return { error: 'VersionTooLong', args: { max: MAX_VERSION_LENGTH, actual: length } }
    this.#minVersion = version
    return { event: ['MinVersionUpdated', { version }] }
  }

  #wrongUrl (url) {
    const length = utf8Length(url)
    const holds = length > 0n && length <= MAX_URL_LENGTH
    return holds ? undefined : { error: 'WrongUrlLength', args: { max: MAX_URL_LENGTH, actual: length } }
  }

  // All that can be read, of these accounts and nodes.
  state (owners, nodeIds) {
    const active = this.#all.filter(nodeId => this.#entries.get(nodeId).active)
    return {
      all: this.#all,
      // In no order.
      active: [...active].sort(),
      count: { total: BigInt(this.#all.length), active: BigInt(active.length) },
      minVersion: this.#minVersion,
      nodeOf: owners.map(owner => this.#nodeOf.get(owner) ?? NOTHING),
      nodes: nodeIds.map(nodeId => this.#entries.get(nodeId) ?? {
        owner: NOBODY, publicKey: '0x', url: '', metadataHash: NOTHING, registeredAt: 0n, active: false
      }),
      isActive: nodeIds.map(nodeId => this.#entries.get(nodeId)?.active ?? false)
    }
  }
}

// The same of the contract.
export async function stateOf (registry, owners, nodeIds) {
  const view = async (method, input) => {
    const { value, error } = await registry.call(method, input)
    equal(error, undefined, method)
    return plain(value)
  }
  const each = (method, inputs) => Promise.all(inputs.map(input => view(method, input)))
  const [count, all, active, minVersion, nodeOf, nodes, isActive] = await Promise.all([
    view('getNodeCount'),
    view('getAllNodes', { offset: 0n, limit: 2n ** 256n - 1n }),
    view('getActiveNodes'),
    view('minVersion'),
    each('getNodeByOwner', owners),
    each('getNode', nodeIds.map(id => Buffer.from(id.slice(2), 'hex'))),
    each('isNodeActive', nodeIds.map(id => Buffer.from(id.slice(2), 'hex')))
  ])
  return { all, active: active.sort(), count, minVersion, nodeOf, nodes, isActive }
}

// Numbers by lot, the same in each run.
class Lot {
  #drawn = 0

  below (n) {
    return sha256(`drawn ${this.#drawn++}`).readUInt32BE(0) % n
  }

  of (list) {
    return list[this.below(list.length)]
  }
}

// A call by lot. Lengths are drawn around their bounds and those of the words that a string is kept in.
function drawn (lot, owners, keys) {
  const lengths = [0, 1, 30, 31, 32, 33, 64, 200, Number(MAX_URL_LENGTH), Number(MAX_URL_LENGTH) + 1]
  const from = lot.of(owners)
  const metadataHash = metadataOf(lot.below(1000))
  const url = lot.below(3) ? urlOf(lot.below(156)) : 'u'.repeat(lot.of(lengths))
  switch (lot.below(13)) {
    case 0: case 1: case 2: case 3: {
      const key = lot.of(keys)
      const publicKey = lot.below(10) ? key : Buffer.concat([key, key]).subarray(0, lot.of([0, 31, 33, 64]))
      return { from, method: 'registerNode', input: { publicKey, url, metadataHash } }
    }
    case 4: case 5: case 6: case 7: return { from, method: 'updateNode', input: { url, metadataHash } }
    case 8: case 9: return {
      from: lot.below(3) ? owners[0] : from,
      method: 'setMinVersion',
      input: lot.below(2) ? `1.${lot.below(100)}.0` : 'v'.repeat(lot.of([0, 31, 64, 65, 65]))
    }
    default: return { from, method: 'unregisterNode' }
  }
}

// As many calls as told, by lot, each by one of the accounts and about one of as many keys. After each the contract has
// answered as the model does, and everything that can be read is the same.
export async function walk (chain, registry, steps) {
  const owners = chain.accounts
  const keys = owners.map((_, n) => keyOf(n))
  const nodeIds = keys.map(nodeIdOf)
  const [model, lot] = [new Model(owners[0]), new Lot()]
  const [seen, told] = [{}, []]
  const first = BigInt(await chain.rpc('eth_blockNumber')) + 1n
  for (let step = 0; step < steps; step++) {
    const { from, method, input } = drawn(lot, owners, keys)
    const foretold = await registry.call(method, input, from)
    const receipt = await registry.try(method, input, from)
    const { timestamp } = await chain.rpc('eth_getBlockByNumber', receipt.blockNumber, false)
    const { event, error, args } = model.does(from, method, input, BigInt(timestamp))
    const what = `step ${step}: ${method} by ${from}`
    equal(foretold.error, error, what)
    deepEqual(plain(foretold.args), args, what)
    equal(receipt.status, event ? '0x1' : '0x0', what)
    deepEqual(registry.events(receipt.logs), event ? [event] : [], what)
    deepEqual(await stateOf(registry, owners, nodeIds), model.state(owners, nodeIds), what)
    if (event) told.push(event)
    const name = error ?? event[0]
    seen[name] = (seen[name] ?? 0) + 1
  }
  // Whoever comes later reads the same story from the chain.
  const logs = await chain.rpc('eth_getLogs', { address: registry.address, fromBlock: `0x${first.toString(16)}` })
  deepEqual(registry.events(logs), told)
  const all = ['NodeRegistered', 'NodeUpdated', 'NodeUnregistered', 'MinVersionUpdated', 'OwnerHasNode', 'NodeHasOwner',
    'NoNode', 'WrongKeyLength', 'WrongUrlLength', 'VersionTooLong', 'NotDeployer']
  for (const name of all) ok(seen[name] > 2, `${name}: ${seen[name]} times`)
  console.log(`walked ${steps} steps: ${all.map(name => `${name} ${seen[name]}`).join(', ')}`)
}

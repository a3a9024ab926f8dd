// VaultNodeRegistry.sol on a real EVM.
//
//   node registry-chain.mjs interface   the artifact has the interface that the network knows
//   node registry-chain.mjs promises    who may do what, what is refused and why, each event
//   node registry-chain.mjs walk        hundreds of calls by lot, each compared with a model
//   node registry-chain.mjs thousand    the list of a thousand nodes by pages; the gas is that of docs/registry.md
//   node registry-chain.mjs gas         prints the tables of docs/registry.md
import { readFileSync } from 'node:fs'
import { deepEqual, equal, ok } from 'node:assert/strict'
import { Chain, plain } from './chain.mjs'
import { thousand } from './registry-gas.mjs'
import {
  keyOf, MAX_URL_LENGTH, MAX_VERSION_LENGTH, metadataOf, nodeIdOf, NOTHING, stateOf, urlOf, walk
} from './registry-model.mjs'

// As the network has published it. A call and its answer are the same to the byte wherever this is the same.
const PUBLISHED = [
  'event MinVersionUpdated(string)',
  'event NodeRegistered(bytes32 indexed, address indexed)',
  'event NodeUnregistered(bytes32 indexed)',
  'event NodeUpdated(bytes32 indexed)',
  'getActiveNodes() view returns (bytes32[])',
  'getAllNodes(uint256 offset, uint256 limit) view returns (bytes32[])',
  'getNode(bytes32) view returns ((address owner, bytes publicKey, string url, bytes32 metadataHash, uint256 registeredAt, bool active))',
  'getNodeByOwner(address) view returns (bytes32)',
  'getNodeCount() view returns (uint256 total, uint256 active)',
  'isNodeActive(bytes32) view returns (bool)',
  'minVersion() view returns (string)',
  'registerNode(bytes publicKey, string url, bytes32 metadataHash) returns (bytes32)',
  'setMinVersion(string)',
  'unregisterNode()',
  'updateNode(string url, bytes32 metadataHash)'
]

function checkInterface () {
  const file = new URL('../../actors/registry/contracts/artifacts/VaultNodeRegistry.json', import.meta.url)
  const typeOf = ({ type, components }) => components ? `(${listed(components, true)})` : type
  const listed = (items, named) => items
    .map(item => [typeOf(item), item.indexed && 'indexed', named && item.name].filter(Boolean).join(' ')).join(', ')
  const shown = ({ type, name, inputs, outputs, stateMutability }) => {
    if (type === 'event') return `event ${name}(${listed(inputs, false)})`
    // Names are published where there is more than one value.
    const gives = outputs.length ? ` returns (${listed(outputs, outputs.length > 1)})` : ''
    const view = stateMutability === 'nonpayable' ? '' : ` ${stateMutability}`
    return `${name}(${listed(inputs, inputs.length > 1)})${view}${gives}`
  }
  const { abi } = JSON.parse(readFileSync(file, 'utf8'))
  deepEqual(abi.filter(({ type }) => type === 'function' || type === 'event').map(shown).sort(), PUBLISHED)
  const others = abi.filter(({ type }) => !['function', 'event', 'error'].includes(type))
  deepEqual(others.map(({ type, inputs, stateMutability }) => [type, inputs.length, stateMutability]),
    [['constructor', 0, 'nonpayable']])
  console.log(`interface of ${PUBLISHED.length} functions and events as published`)
}

// ---- promises ----

async function promises (chain, registry) {
  const [deployer, alice, bob, carol] = chain.accounts
  const keys = [1, 2, 3].map(keyOf)
  const ids = keys.map(nodeIdOf)
  const bytes = text => Buffer.from(text.slice(2), 'hex')
  const state = () => stateOf(registry, chain.accounts, ids)
  const view = async (method, input) => plain((await registry.call(method, input)).value)
  const node = async n => view('getNode', bytes(ids[n]))

  const accepted = async (from, method, input, event) => {
    const gives = plain((await registry.call(method, input, from)).value)
    const receipt = await registry.try(method, input, from)
    equal(receipt.status, '0x1', method)
    deepEqual(registry.events(receipt.logs), [event], method)
    return gives
  }
  // With its reason; and where it is tried nevertheless, nothing has changed.
  const refused = async (from, method, input, error, args) => {
    const before = await state()
    const said = await registry.call(method, input, from)
    deepEqual([said.error, plain(said.args)], [error, args], method)
    const receipt = await registry.try(method, input, from)
    deepEqual([receipt.status, receipt.logs], ['0x0', []], method)
    deepEqual(await state(), before, method)
  }
  const entry = (n, url = urlOf(n)) => ({ publicKey: keys[n], url, metadataHash: metadataOf(n) })
  const later = () => chain.rpc('evm_increaseTime', 3600)

  // Nothing is there at first, and nobody has a node to update or unregister.
  deepEqual(await view('getNodeCount'), { total: 0n, active: 0n })
  deepEqual([await view('getActiveNodes'), await view('getAllNodes', { offset: 0n, limit: 10n })], [[], []])
  deepEqual([await view('getNodeByOwner', alice), await view('isNodeActive', bytes(ids[0]))], [NOTHING, false])
  await refused(alice, 'updateNode', { url: urlOf(0), metadataHash: metadataOf(0) }, 'NoNode', alice)
  await refused(alice, 'unregisterNode', undefined, 'NoNode', alice)

  equal(await accepted(alice, 'registerNode', entry(0), ['NodeRegistered', { nodeId: ids[0], owner: alice }]), ids[0])
  const { registeredAt, ...first } = await node(0)
  deepEqual(first, {
    owner: alice, publicKey: plain(keys[0]), url: urlOf(0), metadataHash: plain(metadataOf(0)), active: true
  })
  equal(registeredAt, BigInt((await chain.rpc('eth_getBlockByNumber', 'latest', false)).timestamp))
  deepEqual([await view('getNodeByOwner', alice), await view('isNodeActive', bytes(ids[0]))], [ids[0], true])

  // The same node again, and a second node of the same owner: the first one's id is the reason.
  await refused(alice, 'registerNode', entry(0), 'OwnerHasNode', ids[0])
  await refused(alice, 'registerNode', entry(1), 'OwnerHasNode', ids[0])
  // The same node of another owner.
  await refused(bob, 'registerNode', entry(0), 'NodeHasOwner', { nodeId: ids[0], owner: alice })
  // Who may say what is wanted of all nodes has no power over one.
  await refused(deployer, 'updateNode', { url: urlOf(9), metadataHash: metadataOf(9) }, 'NoNode', deployer)
  await refused(deployer, 'unregisterNode', undefined, 'NoNode', deployer)
  console.log('one node for each owner, one owner for each node')

  await accepted(bob, 'registerNode', entry(1), ['NodeRegistered', { nodeId: ids[1], owner: bob }])
  await accepted(carol, 'registerNode', entry(2), ['NodeRegistered', { nodeId: ids[2], owner: carol }])
  // Each call is about the caller's own node, and touches no other.
  const others = [await node(0), await node(2)]
  await later()
  await accepted(bob, 'updateNode', { url: urlOf(9), metadataHash: metadataOf(9) }, ['NodeUpdated', { nodeId: ids[1] }])
  const updated = await node(1)
  deepEqual([updated.url, updated.metadataHash, updated.owner], [urlOf(9), plain(metadataOf(9)), bob])
  await accepted(bob, 'unregisterNode', undefined, ['NodeUnregistered', { nodeId: ids[1] }])
  deepEqual([await node(0), await node(2)], others)
  console.log('owners change their own node and no other')

  // It stays to be read, and counts as one of all; nobody owns it by now.
  deepEqual(await node(1), { ...updated, active: false })
  deepEqual(await view('getNodeCount'), { total: 3n, active: 2n })
  deepEqual((await view('getActiveNodes')).sort(), [ids[0], ids[2]].sort())
  equal(await view('getNodeByOwner', bob), NOTHING)
  await refused(bob, 'unregisterNode', undefined, 'NoNode', bob)
  await refused(bob, 'updateNode', { url: urlOf(1), metadataHash: metadataOf(1) }, 'NoNode', bob)
  // Again, with what is said now: the same id, in the same place, from now on.
  await later()
  await accepted(bob, 'registerNode', entry(1), ['NodeRegistered', { nodeId: ids[1], owner: bob }])
  const again = await node(1)
  deepEqual([again.url, again.metadataHash, again.active], [urlOf(1), plain(metadataOf(1)), true])
  ok(again.registeredAt >= updated.registeredAt + 7200n, `${again.registeredAt}`)
  deepEqual(await view('getAllNodes', { offset: 0n, limit: 10n }), ids)
  // An owner may change its node for another, and what it left may get another owner.
  await accepted(alice, 'unregisterNode', undefined, ['NodeUnregistered', { nodeId: ids[0] }])
  await accepted(bob, 'unregisterNode', undefined, ['NodeUnregistered', { nodeId: ids[1] }])
  await accepted(alice, 'registerNode', entry(1), ['NodeRegistered', { nodeId: ids[1], owner: alice }])
  await accepted(bob, 'registerNode', entry(0), ['NodeRegistered', { nodeId: ids[0], owner: bob }])
  deepEqual([(await node(0)).owner, (await node(1)).owner], [bob, alice])
  deepEqual(await view('getAllNodes', { offset: 0n, limit: 10n }), ids)
  await refused(alice, 'registerNode', entry(0), 'OwnerHasNode', ids[1])
  console.log('registered again after unregistering')

  // Bytes are counted, not characters.
  for (const url of ['', 'u'.repeat(513), '\u00e9'.repeat(257)]) {
    const args = { max: MAX_URL_LENGTH, actual: BigInt(Buffer.byteLength(url)) }
    await refused(deployer, 'registerNode', { ...entry(2, url), publicKey: keyOf(4) }, 'WrongUrlLength', args)
    await refused(carol, 'updateNode', { url, metadataHash: metadataOf(2) }, 'WrongUrlLength', args)
  }
  for (const url of ['u', 'u'.repeat(512), '\u00e9'.repeat(256), 'u'.repeat(31), 'u'.repeat(32)]) {
    await accepted(carol, 'updateNode', { url, metadataHash: metadataOf(2) }, ['NodeUpdated', { nodeId: ids[2] }])
    equal((await node(2)).url, url)
  }
  for (const length of [0, 31, 33, 64]) {
    const publicKey = Buffer.alloc(length, 7)
    const args = { expected: 32n, actual: BigInt(length) }
    await refused(deployer, 'registerNode', { ...entry(2), publicKey }, 'WrongKeyLength', args)
  }
  console.log('lengths are bounded')

  equal(await view('minVersion'), '')
  await refused(alice, 'setMinVersion', '9.9.9', 'NotDeployer', alice)
  const tooLong = 'v'.repeat(65)
  await refused(deployer, 'setMinVersion', tooLong, 'VersionTooLong', { max: MAX_VERSION_LENGTH, actual: 65n })
  for (const version of ['1.2.3', 'v'.repeat(64), '']) {
    await accepted(deployer, 'setMinVersion', version, ['MinVersionUpdated', { version }])
    equal(await view('minVersion'), version)
  }
  console.log('the lowest version is stated by who deployed')

  // Found by node and by owner, as a reader that keeps up with the chain asks for them.
  const topic = address => `0x${'00'.repeat(12)}${address.slice(2)}`
  const found = async topics => registry.events(await chain.rpc('eth_getLogs', {
    address: registry.address, fromBlock: '0x0', topics
  }))
  deepEqual(await found([null, ids[0]]), [
    ['NodeRegistered', { nodeId: ids[0], owner: alice }],
    ['NodeUnregistered', { nodeId: ids[0] }],
    ['NodeRegistered', { nodeId: ids[0], owner: bob }]
  ])
  deepEqual(await found([null, null, topic(bob)]), [ids[1], ids[1], ids[0]]
    .map(nodeId => ['NodeRegistered', { nodeId, owner: bob }]))
  console.log('events are found by node and by owner')
}

async function main (how) {
  if (how === 'interface') return checkInterface()
  if (how === 'thousand' || how === 'gas') return thousand(how === 'thousand')
  const chain = await Chain.start({ accounts: how === 'walk' ? 7 : 4 })
  const registry = await chain.deploy('VaultNodeRegistry')
  await (how === 'walk' ? walk(chain, registry, 400) : promises(chain, registry))
  chain.stop()
}

const how = process.argv[2]
if (!['interface', 'promises', 'walk', 'thousand', 'gas'].includes(how)) {
  throw new Error('say interface, promises, walk, thousand or gas')
}
await main(how)
// Not held by connections that fetch keeps open.
process.exit(0)

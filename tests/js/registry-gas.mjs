// VaultNodeRegistry.sol with a thousand nodes: its list by pages, and what each call costs.
import { readFileSync } from 'node:fs'
import { deepEqual, equal, ok } from 'node:assert/strict'
import { Chain, HARDFORK, plain } from './chain.mjs'
import { keyOf, MAX_URL_LENGTH, metadataOf, nodeIdOf, urlOf } from './registry-model.mjs'

const NODES = 1000

// What a transaction pays before anything runs, and the least that it pays for its bytes (EIP-7623).
function paidForBytes (data) {
  const bytes = Buffer.from(data.slice(2), 'hex')
  const tokens = bytes.reduce((sum, byte) => sum + (byte === 0 ? 1 : 4), 0)
  return { before: 21_000 + 4 * tokens, least: 21_000 + 10 * tokens }
}

const shown = value => typeof value === 'number' ? value.toLocaleString('en-GB') : value
const table = (head, rows) => [
  `| ${head.join(' | ')} |`,
  `|${'---|'.repeat(head.length)}`,
  ...rows.map(row => `| ${row.map(shown).join(' | ')} |`)
].join('\n')

export async function thousand (compared) {
  const chain = await Chain.start({ accounts: NODES + 1 })
  const registry = await chain.deploy('VaultNodeRegistry')
  const [deployer, ...owners] = chain.accounts
  const ids = owners.map((_, n) => nodeIdOf(keyOf(n)))

  const pays = async (method, input, from) => {
    const receipt = await registry.try(method, input, from)
    equal(receipt.status, '0x1', method)
    return Number(receipt.gasUsed)
  }
  // Of a view that a contract calls, besides what it pays for handing the bytes on.
  const costs = async (method, input) => {
    const gas = await pays(method, input, deployer)
    const { before, least } = paidForBytes(registry.data(method, input))
    ok(gas > least, `${method}: its bytes cost more than its work, ${gas}`)
    return gas - before
  }
  const view = async (method, input) => plain((await registry.call(method, input)).value)
  const entry = (n, url = urlOf(n)) => ({ publicKey: keyOf(n), url, metadataHash: metadataOf(n) })

  const written = []
  const writes = async (what, ...call) => written.push([what, await pays(...call)])
  await writes('`registerNode`, the first of all', 'registerNode', entry(0), owners[0])
  for (let n = 1; n < NODES - 1; n++) await pays('registerNode', entry(n), owners[n])
  await writes('`registerNode`', 'registerNode', entry(NODES - 1), owners[NODES - 1])

  await pages(view, ids)

  const views = []
  const reads = async (what, ...call) => views.push([what, await costs(...call)])
  for (const [offset, limit] of [[0, 10], [0, 100], [900, 100], [0, 1000], [1000, 100]]) {
    await reads(`\`getAllNodes(${offset}, ${limit})\``, 'getAllNodes', { offset: BigInt(offset), limit: BigInt(limit) })
  }
  await reads('`getActiveNodes`', 'getActiveNodes')
  const id = Buffer.from(ids[500].slice(2), 'hex')
  await reads('`getNode`', 'getNode', id)
  await reads('`isNodeActive`', 'isNodeActive', id)
  await reads('`getNodeByOwner`', 'getNodeByOwner', owners[500])
  await reads('`getNodeCount`', 'getNodeCount')

  const last = NODES - 1
  await writes('`updateNode`, a URL of the same length', 'updateNode', { url: urlOf(3), metadataHash: metadataOf(3) },
    owners[last])
  await writes('`unregisterNode`', 'unregisterNode', undefined, owners[10])
  await writes('`registerNode`, again with the same URL', 'registerNode', { ...entry(10), metadataHash: metadataOf(3) },
    owners[10])
  const longest = 'u'.repeat(Number(MAX_URL_LENGTH))
  await pays('unregisterNode', undefined, owners[11])
  await writes(`\`registerNode\` of another node, a URL of ${MAX_URL_LENGTH} bytes`, 'registerNode', entry(NODES, longest),
    owners[11])
  await writes('`setMinVersion("1.2.3")`, the first time', 'setMinVersion', '1.2.3', deployer)
  chain.stop()

  const page = `${table(['transaction', 'gas'], written)}\n\n` +
    `${table([`view, ${shown(NODES)} nodes`, 'gas'], views)}\n\n` +
    `Rules of the hard fork ${HARDFORK}, URLs of ${urlOf(0).length} bytes where nothing else is said; deploying the contract took ` +
    `${shown(registry.gas)} gas.`
  if (!compared) return console.log(page)
  const file = readFileSync(new URL('../../docs/registry.md', import.meta.url), 'utf8')
  ok(file.includes(page), `docs/registry.md has not this:\n${page}`)
  console.log('gas as in docs/registry.md')
}

// Every node once and in the order of registration, whatever the pages; none beyond the end.
async function pages (view, ids) {
  const page = (offset, limit) => view('getAllNodes', { offset: BigInt(offset), limit: BigInt(limit) })
  const most = 2n ** 256n - 1n
  for (const size of [1000, 999, 100, 333, 64]) {
    const read = []
    for (let next; read.length < ids.length; read.push(...next)) {
      next = await page(read.length, size)
      equal(next.length, Math.min(size, ids.length - read.length), `${size} from ${read.length}`)
    }
    deepEqual(read, ids, `pages of ${size}`)
  }
  deepEqual(await page(0, most), ids)
  deepEqual(await page(1, most), ids.slice(1))
  deepEqual(await page(999, most), ids.slice(999))
  deepEqual(await page(500, 1), [ids[500]])
  for (const [offset, limit] of [[0, 0], [500, 0], [1000, 0], [1000, 1], [1001, 1], [most, 1], [most, most]]) {
    deepEqual(await page(offset, limit), [], `${limit} from ${offset}`)
  }
  deepEqual((await view('getActiveNodes')).sort(), [...ids].sort())
  deepEqual(await view('getNodeCount'), { total: BigInt(ids.length), active: BigInt(ids.length) })
  console.log(`pages of ${ids.length} nodes`)
}

// ProofVerifier.sol on a real EVM: all vectors, trees of each small size, and what it costs.
//
//   node proof-chain.mjs check    each answer must be the right one, and the gas that of docs/proofs.md
//   node proof-chain.mjs gas      prints the table of docs/proofs.md
//   node proof-chain.mjs judge <answer.json    {"question": {…}, "proof": {…}}: prints valid or the contract's error
import { readFileSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { equal, ok } from 'node:assert/strict'
import { Chain, HARDFORK } from './chain.mjs'
import { readJson } from './proof-forms.mjs'
import { commitmentOf, indexAsked, leafCount, possession, proofOf, questionOf } from './proof-verifier.mjs'

const sha256 = (...parts) => createHash('sha256').update(Buffer.concat(parts)).digest()

// ---- blobs of one leaf over and over: any size is a few hashes away ----

class Uniform {
  #roots = new Map()

  constructor (size, seed = 1) {
    const blocks = Array.from({ length: 32 }, (_, n) => sha256(Buffer.from(`leaf ${seed} ${n}`)))
    this.leaf = Buffer.concat(blocks)
    this.size = size
    this.leaves = leafCount(size)
    this.root = this.#root(this.leaves, true)
    this.cid = Buffer.concat([Buffer.of(1, 0x55, 0x12, 0x20), sha256(this.leaf)])
  }

  // RFC 9162, section 2.1.1, for this many leaves. Of leaves in the middle of the blob only their number matters.
  #root (count, last) {
    const key = `${count} ${last}`
    if (!this.#roots.has(key)) {
      const half = Uniform.#split(count)
      this.#roots.set(key, count === 1n
        ? sha256(Buffer.of(0), this.data(last ? this.leaves - 1n : 0n))
        : sha256(Buffer.of(1), this.#root(half, last && count === half), this.#root(count - half, last)))
    }
    return this.#roots.get(key)
  }

  // The largest power of two below.
  static #split (count) {
    let half = 1n
    while (half * 2n < count) half *= 2n
    return half
  }

  data (index) {
    return index + 1n < this.leaves ? this.leaf : this.leaf.subarray(0, Number(this.size - 1024n * (this.leaves - 1n)))
  }

  // RFC 9162, section 2.1.3.1.
  path (index, count = this.leaves, last = true) {
    if (count === 1n) return []
    const half = Uniform.#split(count)
    return index < half
      ? [...this.path(index, half, false), this.#root(count - half, last)]
      : [...this.path(index - half, count - half, last), this.#root(half, false)]
  }

  // The question, and the right answer to it.
  proof (count, nonce = sha256(Buffer.from(`nonce ${this.size}`))) {
    const leaves = Array.from({ length: count }, (_, i) => {
      const index = indexAsked(nonce, this.cid, i, this.size)
      return { index, data: this.data(index), path: this.path(index) }
    })
    const question = { commitment: commitmentOf(this.size, this.root), nonce, cid: this.cid, count: BigInt(count) }
    return { question, proof: { cid: this.cid, nonce, size: this.size, blobRoot: this.root, leaves } }
  }
}

// ---- calls ----

// The contract has one CID and one nonce, the caller's; what the proof says of them does not reach it.
const inputOf = (question, proof) => ({
  commitment: question.commitment ?? (question.blobRoot == null
    ? Buffer.alloc(32)
    : commitmentOf(question.size, question.blobRoot)),
  size: proof.size,
  blobRoot: proof.blobRoot,
  nonce: question.nonce ?? proof.nonce,
  cid: question.cid ?? proof.cid,
  count: question.count ?? 4n,
  leaves: proof.leaves.map(({ index, data }) => ({ index, data })),
  paths: proof.leaves.map(({ path }) => path)
})

const asError = reason => reason === 'valid' ? undefined : reason[0].toUpperCase() + reason.slice(1)

async function same (verifier, what, question, proof) {
  const expected = asError(possession(question, {
    ...proof,
    nonce: question.nonce ?? proof.nonce,
    cid: question.cid ?? proof.cid
  }))
  const { error } = await verifier.call('verify', inputOf(question, proof))
  equal(error, expected, what)
  return error
}

async function vectors (verifier) {
  const file = new URL('../vectors/proof-vectors.json', import.meta.url)
  const seen = {}
  for (const vector of readJson(readFileSync(file, 'utf8')).get('proofs')) {
    const [what, expected] = [vector.get('name'), vector.get('expected')]
    const [question, proof] = [questionOf(vector.get('question')), proofOf(vector.get('proof'))]
    const error = await same(verifier, what, question, proof)
    // A proof of another CID or nonce is the caller's to tell: it knows which it asked for.
    const foreign = (question.cid && !question.cid.equals(proof.cid)) ||
      (question.nonce && !question.nonce.equals(proof.nonce))
    if (!foreign) equal(error === undefined, vector.get('possession'), what)
    // Where the reason is about possession, the contract gives the same one.
    const others = ['badSignature', 'wrongVersion', 'identityMismatch', 'wrongPeer', 'stale']
    if (!foreign && !others.includes(expected) && !vector.get('possession')) equal(error, asError(expected), what)
    const name = error ?? 'valid'
    seen[name] = (seen[name] ?? 0) + 1
  }
  console.log(`vectors ${Object.values(seen).reduce((a, b) => a + b)}: ` +
    Object.entries(seen).sort().map(([name, times]) => `${name} ${times}`).join(', '))
}

// Each number of leaves from 1 to 66 and some large ones, with the right path and with paths that are nearly right.
async function trees (verifier) {
  let [held, refused] = [0, 0]
  const sizes = Array.from({ length: 66 }, (_, i) => BigInt(i + 1) * 1024n)
  const large = [1n << 30n, (1n << 30n) + 1n, 1n << 53n, 1n << 63n, (1n << 64n) - 1n]
  for (const size of [0n, 1n, 1023n, 1025n, ...sizes, ...large]) {
    const { question, proof } = new Uniform(size).proof(2)
    equal(await same(verifier, `${size} bytes`, question, proof), undefined, `${size} bytes`)
    held++
    const first = proof.leaves[0]
    const changed = path => ({ ...proof, leaves: [{ ...first, path }, proof.leaves[1]] })
    const wrong = [changed([...first.path, proof.blobRoot])]
    if (first.path.length) wrong.push(changed(first.path.slice(0, -1)), changed([...first.path.slice(1), first.path[0]]))
    for (const bad of wrong) {
      // In a tree of equal leaves two siblings may be alike, and changing their places changes nothing.
      const error = await same(verifier, `${size} bytes, another path`, question, bad)
      if (error === undefined) ok(bad.leaves[0].path.every((hash, i) => hash.equals(first.path[i])))
      else refused++
    }
    // The path of one size, claimed of another by a commitment to it: as many leaves more or fewer as one.
    for (const other of [size + 1024n, size - 1024n]) {
      if (other <= 0n || other >= 1n << 64n) continue
      const commitment = commitmentOf(other, proof.blobRoot)
      const leaves = proof.leaves.map((leaf, i) => ({ ...leaf, index: indexAsked(proof.nonce, proof.cid, i, other) }))
      await same(verifier, `${size} bytes said to be ${other}`, { ...question, commitment }, { ...proof, size: other, leaves })
    }
  }
  console.log(`trees: ${held} held, ${refused} refused`)
}

// What only a contract can be given.
async function misuse (verifier) {
  const { question, proof } = new Uniform(7168n).proof(4)
  const input = inputOf(question, proof)
  const gives = async (error, changes) => equal((await verifier.call('verify', { ...input, ...changes })).error, error)
  await gives(undefined, {})
  await gives('Unanchored', { commitment: Buffer.alloc(32) })
  await gives('WrongCid', { cid: input.cid.subarray(0, 35) })
  await gives('WrongCid', { cid: Buffer.concat([input.cid, Buffer.of(0)]) })
  await gives('WrongCid', { cid: Buffer.alloc(0) })
  await gives('WrongCid', { cid: Buffer.concat([Buffer.of(1, 0x70, 0x12, 0x20), input.cid.subarray(4)]) })
  await gives('WrongCount', { count: 0n, leaves: [], paths: [] })
  await gives('WrongCount', { leaves: [], paths: [] })
  await gives('WrongCount', { paths: input.paths.slice(1) })
  await gives('WrongCount', { count: (1n << 32n) + 4n })
  const many = inputOf(...Object.values(new Uniform(7168n).proof(33)))
  equal((await verifier.call('verify', many)).error, 'WrongCount')
  console.log('misuse refused')
}

// ---- gas ----

const BLOBS = [['1 KiB', 1n << 10n], ['1 MiB', 1n << 20n], ['5 MiB', 5n << 20n], ['1 GiB', 1n << 30n]]

async function gasTable (chain, verifier) {
  const rows = []
  for (const [name, size] of BLOBS) {
    for (const count of [1, 4]) {
      const { question, proof } = new Uniform(size).proof(count)
      const data = verifier.data('verify', inputOf(question, proof))
      const receipt = await chain.send({ to: verifier.address, data })
      const { structLogs: steps } = await chain.rpc('debug_traceTransaction', receipt.transactionHash, {
        disableStorage: true, disableMemory: true, disableStack: true
      })
      const outer = steps.filter(step => step.depth === 1)
      const execution = outer[0].gas - outer.at(-1).gas + outer.at(-1).gasCost
      const hashes = [...new Set(proof.leaves.map(({ path }) => path.length))].join(' or ')
      rows.push([name, count, hashes, data.length / 2 - 1, execution,
        Number(receipt.gasUsed)])
    }
  }
  const shown = value => typeof value === 'number' ? value.toLocaleString('en-GB') : value
  return [
    '| blob | leaves | hashes in each path | bytes of the call | gas of `verify` | gas of a transaction that calls it |',
    '|---|---|---|---|---|---|',
    ...rows.map(row => `| ${row.map(shown).join(' | ')} |`)
  ].join('\n')
}

async function main (how) {
  const chain = await Chain.start({ traced: true })
  const verifier = await chain.deploy('ProofVerifier')
  if (how === 'judge') {
    const asked = readJson(readFileSync(0, 'utf8'))
    const input = inputOf(questionOf(asked.get('question')), proofOf(asked.get('proof')))
    console.log((await verifier.call('verify', input)).error ?? 'valid')
    return chain.stop()
  }
  const table = `${await gasTable(chain, verifier)}\n\nRules of the hard fork ${HARDFORK}; deploying the contract took ` +
    `${verifier.gas.toLocaleString('en-GB')} gas.`
  if (how === 'gas') {
    console.log(table)
  } else {
    await vectors(verifier)
    await trees(verifier)
    await misuse(verifier)
    const page = readFileSync(new URL('../../docs/proofs.md', import.meta.url), 'utf8')
    ok(page.includes(table), `docs/proofs.md has not this table:\n${table}`)
    console.log('gas as in docs/proofs.md')
  }
  chain.stop()
}

const how = process.argv[2]
if (!['check', 'gas', 'judge'].includes(how)) throw new Error('say check, gas or judge')
await main(how)
// Not held by connections that fetch keeps open.
process.exit(0)

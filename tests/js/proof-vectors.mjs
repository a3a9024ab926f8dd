// Runs the verifier of proof-verifier.mjs over all of tests/vectors/proof-vectors.json, and prints how many of each list
// came out as they must. Ends with 1 when one does not.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { deepEqual, equal, throws } from 'node:assert/strict'
import { Malformed, readJson } from './proof-forms.mjs'
import {
  binaryOfProof, cidOf, commitmentOf, leafCount, possession, proofOf, proofOfBinary, questionOf, receiptOf, rootOf,
  signedBytesOfProof, signedBytesOfReceipt, verify, verifyReceipt
} from './proof-verifier.mjs'

const vectors = readJson(readFileSync(new URL('../vectors/proof-vectors.json', import.meta.url), 'utf8'))
const page = readFileSync(new URL('../../docs/proofs.md', import.meta.url), 'utf8')

const sha256 = bytes => createHash('sha256').update(bytes).digest()

// The rule that the file states for the content of its trees.
function content (seed, size) {
  const blocks = []
  for (let n = 0; n * 32 < size; n++) {
    const block = Buffer.alloc(16)
    block.writeBigUInt64BE(seed)
    block.writeBigUInt64BE(BigInt(n), 8)
    blocks.push(sha256(block))
  }
  return Buffer.concat(blocks).subarray(0, Number(size))
}

// What is said of a question and a proof: the verdict, and whether the leaves alone hold.
const checks = {
  trees (tree) {
    const [size, bytes] = [tree.get('size'), content(tree.get('seed'), tree.get('size'))]
    const text = tree.get('cid')
    const root = rootOf(bytes)
    equal(leafCount(size), tree.get('leafCount'))
    deepEqual(cidOf(bytes), questionOf(new Map([['cid', text]])).cid)
    equal(root.toString('hex'), tree.get('blobRoot'))
    equal(commitmentOf(size, root).toString('hex'), tree.get('commitment'))
  },
  proofs (vector) {
    const [question, proof] = [questionOf(vector.get('question')), proofOf(vector.get('proof'))]
    equal(verify(question, proof), vector.get('expected'))
    equal(possession(question, proof) === 'valid', vector.get('possession'))
    equal(sha256(signedBytesOfProof(proof)).toString('hex'), vector.get('signedBytesSha256'))
    const binary = binaryOfProof(proof)
    deepEqual(proofOfBinary(binary), proof)
    if (vector.has('binary')) equal(binary.toString('hex'), vector.get('binary'))
  },
  malformedJson (vector) {
    throws(() => proofOf(readJson(vector.get('text'))), Malformed)
  },
  malformedBinary (vector) {
    throws(() => proofOfBinary(Buffer.from(vector.get('text'), 'hex')), Malformed)
  },
  receipts (vector) {
    const receipt = receiptOf(vector.get('receipt'))
    equal(verifyReceipt(receipt), vector.get('expected'))
    equal(signedBytesOfReceipt(receipt).toString('hex'), vector.get('signedBytes'))
  }
}

// The example of the page: its proof, the commitment behind it, and the bytes that are signed, with a word after each line.
function example () {
  const [, text, commitment, hash, lines] =
    /```json\n(.*?)\n```.*?commitment `([0-9a-f]{64})`.*?`([0-9a-f]{64})`.*?```text\n(.*?)\n```/s.exec(page)
  const proof = proofOf(readJson(text))
  const signed = lines.split('\n').map(line => line.split(/ {2,}/)[0].replaceAll(' ', '')).join('')
  equal(verify({ commitment: Buffer.from(commitment, 'hex'), count: 1n }, proof), 'valid')
  equal(signedBytesOfProof(proof).toString('hex'), signed)
  equal(sha256(signedBytesOfProof(proof)).toString('hex'), hash)
}

let wrong = 0
for (const [list, check] of Object.entries(checks)) {
  const all = vectors.get(list)
  for (const vector of all) {
    try {
      check(vector)
    } catch (e) {
      wrong++
      console.error(`${list}: ${vector.get('name') ?? vector.get('size')}: ${e.message}`)
    }
  }
  console.log(`${list} ${all.length}`)
}
example()
console.log('the example of the page')
process.exit(wrong === 0 ? 0 : 1)

// A verifier of storage proofs, written from docs/proofs.md alone and with nothing but Node's own modules: what the page
// says is enough, or this program fails. It knows no node and no network.
//
//   node proof-verifier.mjs <answer.json    {"question": {…}, "proof": {…}} or {"receipt": {…}}: prints valid or the reason
import { createHash, createPublicKey, verify as verifySignature } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { BinaryReader, binaryCid, binaryPeerId, bytesOf, Malformed, readJson } from './proof-forms.mjs'

const LEAF_SIZE = 1024n
const COUNT_UNLESS_ASKED = 4
const MAX_LEAVES = 32
const PROOF_TAG = 'bytecave-proof-v1'
const RECEIPT_TAG = 'bytecave-receipt-v1'

const sha256 = (...parts) => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

function u32be (number) {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(number)
  return bytes
}

function u64be (number) {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(number))
  return bytes
}

// ---- the tree and the challenge ----

export const leafCount = size => size === 0n ? 1n : (size + LEAF_SIZE - 1n) / LEAF_SIZE

const leafLength = (index, size) => index + 1n < leafCount(size) ? LEAF_SIZE : size - LEAF_SIZE * index

const hashOfLeaf = data => sha256(Buffer.of(0), data)
const hashOfNode = (left, right) => sha256(Buffer.of(1), left, right)

export const commitmentOf = (size, blobRoot) => sha256('bytecave-commitment-v1', u64be(size), blobRoot)

export const indexAsked = (nonce, cid, position, size) =>
  sha256('bytecave-challenge-v1', nonce, cid, u32be(position)).readBigUInt64BE(0) % leafCount(size)

// The root of whole content, level by level from the left.
export function rootOf (content) {
  let level = []
  for (let at = 0; at === 0 || at < content.length; at += Number(LEAF_SIZE)) {
    level.push(hashOfLeaf(content.subarray(at, at + Number(LEAF_SIZE))))
  }
  while (level.length > 1) {
    const above = []
    for (let i = 0; i < level.length; i += 2) {
      above.push(i + 1 < level.length ? hashOfNode(level[i], level[i + 1]) : level[i])
    }
    level = above
  }
  return level[0]
}

export const cidOf = content => Buffer.concat([Buffer.of(0x01, 0x55, 0x12, 0x20), sha256(content)])

export function pathHolds (index, leaves, data, path, blobRoot) {
  if (index >= leaves) return false
  let [fn, sn, hash] = [index, leaves - 1n, hashOfLeaf(data)]
  for (const sibling of path) {
    if (sn === 0n) return false
    if (fn % 2n === 1n || fn === sn) {
      hash = hashOfNode(sibling, hash)
      while (fn % 2n === 0n && fn !== 0n) {
        fn /= 2n
        sn /= 2n
      }
    } else {
      hash = hashOfNode(hash, sibling)
    }
    fn /= 2n
    sn /= 2n
  }
  return sn === 0n && hash.equals(blobRoot)
}

// ---- forms: JSON and binary ----

// What a field is, in the order of the encoding: how JSON has it, and its bytes.
const number = (max, write) => ({
  json: value => {
    if (typeof value !== 'bigint' || value < 0n || value > max) throw new Malformed(`${value} is no number up to ${max}`)
    return value
  },
  write,
  read: bytes => bytes.length === 8 ? bytes.readBigUInt64BE(0) : BigInt(bytes.readUInt32BE(0)),
  length: write(0n).length
})
const u32 = number(2n ** 32n - 1n, value => u32be(Number(value)))
const u64 = number(2n ** 64n - 1n, u64be)

const fixed = (length, json, check) => ({ json, write: bytes => bytes, read: check ?? (bytes => bytes), length })
const hash = fixed(32, text => bytesOf.hex(text, 32))
const cid = fixed(36, binaryCid.ofText, binaryCid.check)
const nodeId = {
  json: text => bytesOf.utf8(text, 128),
  write: bytes => bytes,
  read: bytes => bytesOf.utf8(bytesOf.text(bytes), 128)
}
const peerId = fixed(38, binaryPeerId.ofText, binaryPeerId.check)
const publicKey = fixed(32, text => {
  if (typeof text !== 'string' || !text.startsWith('0x')) throw new Malformed('a public key begins with 0x')
  return bytesOf.hex(text.slice(2), 32)
})
const signature = fixed(64, text => bytesOf.hex(text, 64))
const leafData = {
  json: text => bytesOf.base64(text, Number(LEAF_SIZE)),
  write: bytes => bytes,
  read: bytes => bytesOf.atMost(bytes, Number(LEAF_SIZE))
}
const MAX_PATH = 54
const path = {
  json: list => {
    if (!Array.isArray(list) || list.length > MAX_PATH) throw new Malformed(`a path is a list of at most ${MAX_PATH}`)
    return list.map(hash.json)
  },
  write: hashes => Buffer.concat(hashes),
  read: bytes => {
    if (bytes.length % 32 !== 0) throw new Malformed(`a path of ${bytes.length} bytes is not whole hashes`)
    bytesOf.atMost(bytes, MAX_PATH * 32)
    return Array.from({ length: bytes.length / 32 }, (_, i) => bytes.subarray(i * 32, i * 32 + 32))
  }
}
const LEAF = { index: u64, data: leafData, path }
const leaves = {
  json: list => {
    if (!Array.isArray(list) || list.length > MAX_LEAVES) throw new Malformed(`leaves are a list of at most ${MAX_LEAVES}`)
    return list.map(leaf => fromJson(leaf, LEAF))
  }
}
const PROOF = {
  version: u32, cid, size: u64, leafSize: u32, blobRoot: hash, nonce: hash, leaves, nodeId, peerId, publicKey, timestamp: u64
}
const RECEIPT = { version: u32, cid, size: u64, commitment: hash, storedAt: u64, nodeId, peerId, publicKey }

function fromJson (value, fields) {
  if (!(value instanceof Map)) throw new Malformed('not an object')
  for (const name of value.keys()) {
    if (!Object.hasOwn(fields, name)) throw new Malformed(`the field ${name} is not known`)
  }
  const read = {}
  for (const [name, kind] of Object.entries(fields)) {
    if (!value.has(name)) throw new Malformed(`no field ${name}`)
    read[name] = kind.json(value.get(name))
  }
  return read
}

const withLength = bytes => [u32be(bytes.length), bytes]

function encode (tag, fields, value) {
  const parts = [Buffer.from(tag)]
  for (const [name, kind] of Object.entries(fields)) {
    if (kind !== leaves) {
      parts.push(...withLength(kind.write(value[name])))
      continue
    }
    parts.push(...withLength(u32be(value.leaves.length)))
    for (const leaf of value.leaves) {
      for (const [inner, form] of Object.entries(LEAF)) parts.push(...withLength(form.write(leaf[inner])))
    }
  }
  return Buffer.concat(parts)
}

export const signedBytesOfProof = proof => encode(PROOF_TAG, PROOF, proof)
export const signedBytesOfReceipt = receipt => encode(RECEIPT_TAG, RECEIPT, receipt)
// From what readJson gave.
export const proofOf = value => fromJson(value, { ...PROOF, signature })
export const receiptOf = value => fromJson(value, { ...RECEIPT, signature })
export const binaryOfProof = proof => Buffer.concat([signedBytesOfProof(proof), ...withLength(proof.signature)])

export function proofOfBinary (bytes) {
  const reader = new BinaryReader(bytes)
  reader.tag(PROOF_TAG)
  const one = form => form.read(reader.field(form.length))
  const proof = {}
  for (const [name, form] of Object.entries(PROOF)) {
    if (form !== leaves) {
      proof[name] = one(form)
      continue
    }
    const count = reader.field(4).readUInt32BE(0)
    if (count > MAX_LEAVES) throw new Malformed(`${count} leaves`)
    proof.leaves = Array.from({ length: count }, () => ({ index: one(u64), data: one(leafData), path: one(path) }))
  }
  proof.signature = one(signature)
  reader.end()
  return proof
}

const QUESTION = {
  cid,
  nonce: hash,
  commitment: hash,
  blobRoot: hash,
  size: u64,
  count: number(BigInt(MAX_LEAVES), value => u32be(Number(value))),
  peerId,
  now: u64,
  maxAge: u64
}

// Everything may be left out of a question; it is then missing here too.
export const questionOf = value =>
  fromJson(value, Object.fromEntries(Object.entries(QUESTION).filter(([name]) => value.has(name))))

// ---- the verdict ----

function signatureHolds (key, bytes, signed) {
  try {
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: key.toString('base64url') }
    return verifySignature(null, bytes, createPublicKey({ key: jwk, format: 'jwk' }), signed)
  } catch {
    // Not every 32 bytes are a key.
    return false
  }
}

const holdsKey = (peer, key) => peer.subarray(-32).equals(key)

// Checks 1 and 7 to 13: what a contract does, which knows no signature.
export function possession (question, proof) {
  const byRoot = question.blobRoot != null && question.size != null
  if (question.commitment == null && !byRoot) return 'unanchored'
  if (question.cid != null && !proof.cid.equals(question.cid)) return 'wrongCid'
  if (question.commitment != null && !commitmentOf(proof.size, proof.blobRoot).equals(question.commitment)) {
    return 'commitmentMismatch'
  }
  if (byRoot && !(proof.blobRoot.equals(question.blobRoot) && proof.size === question.size)) return 'commitmentMismatch'
  if (question.nonce != null && !proof.nonce.equals(question.nonce)) return 'wrongNonce'
  if (proof.leaves.length !== Number(question.count ?? COUNT_UNLESS_ASKED)) return 'wrongCount'
  if (proof.leaves.some(({ index }, i) => index !== indexAsked(proof.nonce, proof.cid, i, proof.size))) {
    return 'wrongLeafIndex'
  }
  for (const { index, data } of proof.leaves) {
    const length = leafLength(index, proof.size)
    if (BigInt(data.length) > length) return 'leafTooLong'
    if (BigInt(data.length) < length) return 'wrongLeafSize'
  }
  const held = proof.leaves.every(leaf =>
    pathHolds(leaf.index, leafCount(proof.size), leaf.data, leaf.path, proof.blobRoot))
  return held ? 'valid' : 'pathDoesNotReachRoot'
}

export function verify (question, proof) {
  const held = possession(question, proof)
  if (held === 'unanchored') return held
  if (proof.version !== 1n) return 'wrongVersion'
  if (!signatureHolds(proof.publicKey, signedBytesOfProof(proof), proof.signature)) return 'badSignature'
  if (!holdsKey(proof.peerId, proof.publicKey)) return 'identityMismatch'
  if (question.peerId != null && !proof.peerId.equals(question.peerId)) return 'wrongPeer'
  if (proof.leafSize !== LEAF_SIZE) return 'wrongLeafSize'
  if (held !== 'valid') return held
  if (question.now != null && question.maxAge != null) {
    const apart = question.now - proof.timestamp
    if ((apart < 0n ? -apart : apart) > question.maxAge) return 'stale'
  }
  return 'valid'
}

export function verifyReceipt (receipt) {
  if (receipt.version !== 1n) return 'wrongVersion'
  if (!signatureHolds(receipt.publicKey, signedBytesOfReceipt(receipt), receipt.signature)) return 'badSignature'
  return holdsKey(receipt.peerId, receipt.publicKey) ? 'valid' : 'identityMismatch'
}

async function main () {
  const chunks = []
  for await (const chunk of process.stdin) chunks.push(chunk)
  const asked = readJson(Buffer.concat(chunks).toString())
  console.log(asked.has('receipt')
    ? verifyReceipt(receiptOf(asked.get('receipt')))
    : verify(questionOf(asked.get('question')), proofOf(asked.get('proof'))))
}

if (realpathSync(process.argv[1] ?? '.') === import.meta.filename) await main()

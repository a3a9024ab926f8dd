// Proofs of storage as a peer makes them, in the form of proof-verifier.mjs.
import { createHash } from 'node:crypto'
import { binaryOfProof, indexAsked, signedBytesOfProof } from './proof-verifier.mjs'

const LEAF = 1024
const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest()

// The levels of the tree from the leaves to the root; a last node without a neighbour moves up as it is.
function levelsOf (content) {
  const leaves = []
  for (let at = 0; at === 0 || at < content.length; at += LEAF) {
    leaves.push(sha256(Buffer.of(0), content.subarray(at, at + LEAF)))
  }
  const levels = [leaves]
  while (levels.at(-1).length > 1) {
    const below = levels.at(-1)
    levels.push(below.flatMap((left, at) => at % 2 === 1
      ? []
      : [at + 1 < below.length ? sha256(Buffer.of(1), left, below[at + 1]) : left]))
  }
  return levels
}

const pathOf = (levels, index) => levels.slice(0, -1).flatMap((level, height) => {
  const sibling = level[(index >> height) ^ 1]
  return sibling == null ? [] : [sibling]
})

// The binary form of a proof of `content`, for a challenge about the blob with this digest, signed with the key of a
// libp2p peer.
export async function prove (content, { digest, nonce, count }, privateKey) {
  const levels = levelsOf(content)
  const cid = Buffer.concat([Buffer.of(0x01, 0x55, 0x12, 0x20), digest])
  const size = BigInt(content.length)
  const leaves = Array.from({ length: count }, (_, position) => {
    const index = Number(indexAsked(nonce, cid, position, size))
    return { index, data: content.subarray(index * LEAF, (index + 1) * LEAF), path: pathOf(levels, index) }
  })
  const publicKey = Buffer.from(privateKey.publicKey.raw)
  const proof = {
    version: 1,
    cid,
    size,
    leafSize: LEAF,
    blobRoot: levels.at(-1)[0],
    nonce,
    leaves,
    nodeId: Buffer.from('js-prover'),
    peerId: Buffer.concat([Buffer.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20), publicKey]),
    publicKey,
    timestamp: Date.now()
  }
  return binaryOfProof({ ...proof, signature: Buffer.from(await privateKey.sign(signedBytesOfProof(proof))) })
}

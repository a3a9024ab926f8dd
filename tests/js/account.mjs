// An Ethereum account as a browser has one, and the store authorization it signs (EIP-191 personal_sign), by a
// library that shares nothing with the node's.
import { createHash } from 'node:crypto'
import { secp256k1 } from '@noble/curves/secp256k1.js'
import { keccak_256 } from '@noble/hashes/sha3.js'
import { cidOf } from './content.mjs'

export function account (name) {
  const key = createHash('sha256').update(`account ${name}`).digest()
  const address = checksummed(keccak_256(secp256k1.getPublicKey(key, false).subarray(1)).subarray(12))
  const sign = text => {
    const message = Buffer.from(text)
    const digest = keccak_256(Buffer.concat([Buffer.from(`\x19Ethereum Signed Message:\n${message.length}`), message]))
    const signature = secp256k1.Signature.fromBytes(
      secp256k1.sign(digest, key, { prehash: false, format: 'recovered' }), 'recovered')
    const v = Buffer.from([27 + signature.recovery])
    return '0x' + Buffer.concat([signature.toBytes('compact'), v]).toString('hex')
  }
  return { address, sign }
}

// EIP-55: mixed case as a checksum.
function checksummed (bytes) {
  const digits = Buffer.from(bytes).toString('hex')
  const hash = Buffer.from(keccak_256(Buffer.from(digits))).toString('hex')
  return '0x' + [...digits].map((digit, at) => parseInt(hash[at], 16) >= 8 ? digit.toUpperCase() : digit).join('')
}

// What is signed, and the fields beside the signature. `claim` replaces fields after the signing, to lie.
export function authorize (bytes, { by = 'browser', appId = 'tests', timestamp = Date.now(), nonce, claim = {}, link = false }) {
  const { address, sign } = account(by)
  const contentHash = cidOf(bytes)
  nonce ??= createHash('sha256').update(`${process.pid} ${timestamp} ${Math.random()}`).digest('hex')
  const signature = sign([
    'ByteCave Storage Request for:',
    `Content Hash: 0x${contentHash}`,
    `App ID: ${appId}`,
    `Timestamp: ${timestamp}`,
    `Nonce: ${nonce}`
  ].join('\n'))
  const signer = link ? { address } : { sender: address }
  return { ...signer, signature, timestamp, nonce, contentHash, appId, ...claim }
}

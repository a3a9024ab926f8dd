// Bytes to store, the same for the same seed and size, and their name in the existing network.
import { createCipheriv, createHash } from 'node:crypto'

export function content ({ seed, size, text }) {
  if (text != null) {
    return Buffer.from(text)
  }
  const key = createHash('sha256').update(`content ${seed}`).digest()
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(size))
}

// 64 lower-case hex digits of the SHA-256.
export const cidOf = bytes => createHash('sha256').update(bytes).digest('hex')

// The long fields of an answer are told by size and hash; the test compares those.
export function told (answer) {
  if (answer == null || typeof answer !== 'object') {
    return answer
  }
  const short = { ...answer }
  for (const field of ['ciphertext', 'data']) {
    if (typeof short[field] === 'string') {
      const bytes = Buffer.from(short[field], 'base64')
      short[field] = { size: bytes.length, sha256: cidOf(bytes), padded: short[field] === bytes.toString('base64') }
    }
  }
  return short
}

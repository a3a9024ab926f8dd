// The notations that storage proofs are written in, read without leniency: JSON without doubled names, base32, base58,
// base64, hex, and fields with their length before them. From docs/proofs.md, like proof-verifier.mjs.

// What has not the form: there is no verdict about it.
export class Malformed extends Error {}

const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567'

const TOKEN = /\s*("(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+)/gy

// JSON, with objects as Maps and numbers as BigInt. A name that comes twice, which JSON.parse passes over, and a number
// that is not whole or that it would round are malformed.
export function readJson (text) {
  try {
    JSON.parse(text)
  } catch (e) {
    throw new Malformed(`no JSON: ${e.message}`)
  }
  // The syntax holds from here on; what is left is to see names and numbers as they are written.
  const tokens = Array.from(text.matchAll(TOKEN), ([, token]) => token)
  let at = 0
  const value = () => {
    const token = tokens[at++]
    if (token === '{') {
      const object = new Map()
      while (tokens[at] !== '}') {
        if (tokens[at] === ',') at++
        const name = JSON.parse(tokens[at])
        if (object.has(name)) throw new Malformed(`the field ${name} comes twice`)
        at += 2
        object.set(name, value())
      }
      at++
      return object
    }
    if (token === '[') {
      const list = []
      while (tokens[at] !== ']') {
        if (tokens[at] === ',') at++
        list.push(value())
      }
      at++
      return list
    }
    if (!/^[-0-9]/.test(token)) return JSON.parse(token)
    if (!/^(0|[1-9][0-9]*)$/.test(token)) throw new Malformed(`${token} is no whole number`)
    return BigInt(token)
  }
  return value()
}

export const bytesOf = {
  hex (text, length) {
    if (typeof text !== 'string' || text.length !== length * 2 || !/^[0-9a-fA-F]*$/.test(text)) {
      throw new Malformed(`not ${length * 2} hex digits`)
    }
    return Buffer.from(text, 'hex')
  },
  base64 (text, max) {
    const bytes = Buffer.from(typeof text === 'string' ? text : '', 'base64')
    if (bytes.toString('base64') !== text) throw new Malformed('not base64 in its one form')
    return bytesOf.atMost(bytes, max)
  },
  utf8 (text, max) {
    if (typeof text !== 'string' || !text.isWellFormed()) throw new Malformed('not a text')
    return bytesOf.atMost(Buffer.from(text), max)
  },
  text (bytes) {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    } catch {
      throw new Malformed('not UTF-8')
    }
  },
  atMost (bytes, max) {
    if (bytes.length > max) throw new Malformed(`${bytes.length} bytes where at most ${max} may be`)
    return bytes
  }
}

// A head that never differs, and 32 bytes.
const headed = (what, ...head) => bytes => {
  if (bytes.length !== head.length + 32 || !bytes.subarray(0, head.length).equals(Buffer.from(head))) {
    throw new Malformed(`not a ${what}`)
  }
  return bytes
}

function digits (text, alphabet, what) {
  if (typeof text !== 'string') throw new Malformed(`not a ${what}`)
  let number = 0n
  for (const letter of text) {
    const digit = alphabet.indexOf(letter)
    if (digit < 0) throw new Malformed(`${letter} in a ${what}`)
    number = number * BigInt(alphabet.length) + BigInt(digit)
  }
  return number
}

const bigEndian = (number, length) => Buffer.from(number.toString(16).padStart(length * 2, '0'), 'hex')

export const binaryCid = {
  check: headed('CID', 0x01, 0x55, 0x12, 0x20),
  ofText (text) {
    if (typeof text !== 'string' || text.length !== 59 || text[0] !== 'b') throw new Malformed('not a CID')
    const number = digits(text.slice(1), BASE32, 'CID')
    // 58 letters of 5 bits are 36 bytes and two bits, which are 0.
    if (number % 4n !== 0n) throw new Malformed('a CID with bits after its end')
    return binaryCid.check(bigEndian(number / 4n, 36))
  }
}

export const binaryPeerId = {
  check: headed('peer id', 0x00, 0x24, 0x08, 0x01, 0x12, 0x20),
  ofText (text) {
    // Each leading zero byte is a leading 1 of base58; there is exactly one.
    if (typeof text !== 'string' || text.length > 60 || !/^1[^1]/.test(text)) throw new Malformed('not a peer id')
    const hex = digits(text, BASE58, 'peer id').toString(16)
    if (hex.length > 2 * 37) throw new Malformed('not a peer id')
    return binaryPeerId.check(Buffer.from(hex.padStart(2 * 38, '0'), 'hex'))
  }
}

// Reads fields of the form u32be(length) ‖ bytes.
export class BinaryReader {
  #bytes
  #at = 0

  constructor (bytes) {
    this.#bytes = bytes
  }

  #take (length) {
    if (length > this.#bytes.length - this.#at) throw new Malformed(`it ends at byte ${this.#bytes.length}`)
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }

  tag (text) {
    if (!this.#take(text.length).equals(Buffer.from(text))) throw new Malformed(`it does not begin with ${text}`)
  }

  // A field, of exactly `length` bytes if that is given.
  field (length) {
    const stated = this.#take(4).readUInt32BE(0)
    if (length !== undefined && stated !== length) throw new Malformed(`a field of ${stated} bytes in place of ${length}`)
    return this.#take(stated)
  }

  end () {
    if (this.#at !== this.#bytes.length) throw new Malformed('bytes follow')
  }
}

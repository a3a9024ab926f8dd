// As much of CBOR (RFC 8949) as the streams between nodes need: numbers, strings, arrays, maps with small numbers
// for keys, true, false and null.

function head (major, number) {
  if (number < 24) return Buffer.from([major << 5 | number])
  if (number < 2 ** 8) return Buffer.from([major << 5 | 24, number])
  const bytes = Buffer.alloc(number < 2 ** 16 ? 3 : number < 2 ** 32 ? 5 : 9)
  if (bytes.length === 3) bytes.writeUInt16BE(number, 1)
  else if (bytes.length === 5) bytes.writeUInt32BE(number, 1)
  else bytes.writeBigUInt64BE(BigInt(number), 1)
  bytes[0] = major << 5 | { 3: 25, 5: 26, 9: 27 }[bytes.length]
  return bytes
}

export function encode (value) {
  if (value === false) return Buffer.from([0xf4])
  if (value === true) return Buffer.from([0xf5])
  if (value == null) return Buffer.from([0xf6])
  if (typeof value === 'number') return head(0, value)
  if (typeof value === 'string') return Buffer.concat([head(3, Buffer.byteLength(value)), Buffer.from(value)])
  if (Buffer.isBuffer(value)) return Buffer.concat([head(2, value.length), value])
  if (Array.isArray(value)) return Buffer.concat([head(4, value.length), ...value.map(encode)])
  const fields = Object.entries(value).filter(([, field]) => field !== undefined)
  return Buffer.concat([head(5, fields.length), ...fields.flatMap(([key, field]) => [head(0, Number(key)), encode(field)])])
}

export function decode (bytes) {
  let at = 0
  const number = low => {
    if (low < 24) return low
    const length = { 24: 1, 25: 2, 26: 4, 27: 8 }[low]
    at += length
    return length === 8 ? Number(bytes.readBigUInt64BE(at - 8)) : bytes.readUIntBE(at - length, length)
  }
  const next = () => {
    const first = bytes[at++]
    const [major, low] = [first >> 5, first & 31]
    if (major === 7) return { 20: false, 21: true, 22: null }[low]
    const count = number(low)
    switch (major) {
      case 0: return count
      case 2: return bytes.subarray(at, at += count)
      case 3: return bytes.subarray(at, at += count).toString()
      case 4: return Array.from({ length: count }, next)
      case 5: return Object.fromEntries(Array.from({ length: count }, () => [next(), next()]))
      default: throw new Error(`CBOR of major type ${major}`)
    }
  }
  return next()
}

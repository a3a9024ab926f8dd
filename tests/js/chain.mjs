// A development chain (anvil) of our own on this machine, spoken to in plain JSON-RPC, with our contracts on it.
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { createContract, decodeError, events } from 'micro-eth-signer/abi.js'

// What gas costs depends on it.
export const HARDFORK = 'prague'

// Longest that the chain may take to start, or to answer one request, on a slow and busy machine. Only hangs reach it.
const PATIENCE_MS = 90_000

// Enough for each transaction here. Stated, so that one that fails is not refused before it is on the chain.
const GAS = '0x1000000'

// The program comes as a package for this kind of machine; elsewhere it has to be on the PATH.
function program () {
  const packaged = new URL('node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil', import.meta.url).pathname
  return existsSync(packaged) && process.arch === 'x64' && process.platform === 'linux' ? packaged : 'anvil'
}

async function startAnvil ({ accounts, traced }) {
  const args = ['--host', '127.0.0.1', '--port', '0', '--hardfork', HARDFORK, '--accounts', `${accounts}`]
  if (traced) args.push('--steps-tracing')
  const child = spawn(program(), args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const stop = () => child.kill('SIGKILL')
  process.on('exit', stop)
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))
  const url = await new Promise((resolve, reject) => {
    const timer = globalThis.setTimeout(() => reject(new Error('anvil did not start')), PATIENCE_MS)
    child.on('error', e => reject(new Error(`anvil does not run (it has to be on the PATH here): ${e.message}`)))
    child.on('exit', code => reject(new Error(`anvil ended with ${code}`)))
    // Read to the end, or it would stop at a full pipe.
    createInterface(child.stdout).on('line', line => {
      const address = /^Listening on (127\.0\.0\.1:[0-9]+)/.exec(line)?.[1]
      if (address) {
        clearTimeout(timer)
        resolve(`http://${address}`)
      }
    })
  })
  return { url, stop }
}

const bytesOfHex = text => Buffer.from(text.slice(2), 'hex')
const hexOf = bytes => `0x${Buffer.from(bytes).toString('hex')}`

// What was decoded, in the forms that JSON-RPC has for it: bytes and addresses as lower-case hex digits.
export function plain (value) {
  if (value instanceof Uint8Array) return hexOf(value)
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]))
  }
  return typeof value === 'string' && /^0x[0-9a-fA-F]{40}$/.test(value) ? value.toLowerCase() : value
}

export class Chain {
  #url
  #requests = 0
  #stop
  #accounts

  // `accounts` with funds of their own, the same at each start. `traced` keeps each step of each transaction, for
  // debug_traceTransaction.
  static async start ({ accounts = 1, traced = false } = {}) {
    const chain = new Chain()
    const { url, stop } = await startAnvil({ accounts, traced })
    chain.#url = url
    chain.#stop = stop
    chain.#accounts = await chain.rpc('eth_accounts')
    return chain
  }

  // Their addresses. The first deploys, and sends what names no other sender.
  get accounts () {
    return this.#accounts
  }

  stop () {
    this.#stop()
  }

  async rpc (method, ...params) {
    const answer = await this.#ask(method, params)
    if (answer.error) throw new Error(`${method}: ${answer.error.message}`)
    return answer.result
  }

  async #ask (method, params) {
    const response = await fetch(this.#url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: ++this.#requests, method, params }),
      signal: AbortSignal.timeout(PATIENCE_MS)
    })
    return response.json()
  }

  // A transaction that must succeed, and its receipt.
  async send (transaction) {
    const receipt = await this.try(transaction)
    if (receipt.status !== '0x1') throw new Error(`the transaction failed: ${JSON.stringify(receipt)}`)
    return receipt
  }

  // A transaction, and its receipt.
  async try (transaction) {
    const hash = await this.rpc('eth_sendTransaction', { from: this.#accounts[0], gas: GAS, ...transaction })
    const patience = AbortSignal.timeout(PATIENCE_MS)
    let receipt
    // Mined at once, but not always before the hash is told.
    while (!(receipt = await this.rpc('eth_getTransactionReceipt', hash))) {
      patience.throwIfAborted()
      await setTimeout(5)
    }
    return receipt
  }

  // The contract of a checked-in artifact, which takes nothing to be made.
  async deploy (name) {
    const file = new URL(`../../actors/registry/contracts/artifacts/${name}.json`, import.meta.url)
    const { abi, bytecode, deployedBytecode } = JSON.parse(readFileSync(file, 'utf8'))
    const receipt = await this.send({ data: bytecode })
    const address = receipt.contractAddress
    if (await this.rpc('eth_getCode', address, 'latest') !== deployedBytecode) {
      throw new Error(`the code at ${address} is not the artifact's`)
    }
    return { address, gas: Number(receipt.gasUsed), ...this.#contract(address, abi) }
  }

  #contract (address, abi) {
    const functions = createContract(abi)
    const known = new Map(Object.entries(events(abi)).map(([name, event]) => {
      const { inputs } = abi.find(item => item.type === 'event' && item.name === name)
      const [topic] = event.topics(Object.fromEntries(inputs.map(input => [input.name, null])))
      return [topic, { name, decode: log => plain(event.decode(log.topics, log.data)) }]
    }))
    const data = (method, input) => hexOf(functions[method].encodeInput(input))
    return {
      data,
      // What a view gives, or the transaction would: {value}, or {error} with the name of the contract's error.
      call: async (method, input, from = this.#accounts[0]) => {
        const call = { from, to: address, data: data(method, input) }
        const answer = await this.#ask('eth_call', [call, 'latest'])
        if (!answer.error) return { value: functions[method].decodeOutput(bytesOfHex(answer.result)) }
        const error = typeof answer.error.data === 'string' ? decodeError(answer.error.data, abi) : undefined
        if (!error) throw new Error(`${method}: ${JSON.stringify(answer.error)}`)
        return { error: error.name, args: error.args }
      },
      // A transaction that calls it, which may fail, and its receipt.
      try: (method, input, from = this.#accounts[0]) => this.try({ from, to: address, data: data(method, input) }),
      // Of the logs of the chain, or of a receipt, the contract's events: [name, fields].
      events: logs => logs.map(log => {
        const event = known.get(log.topics[0])
        if (log.address !== address || !event) throw new Error(`a log of something else: ${JSON.stringify(log)}`)
        return [event.name, event.decode(log)]
      })
    }
  }
}

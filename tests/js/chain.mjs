// A development chain (anvil) of our own on this machine, spoken to in plain JSON-RPC, with one contract on it.
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { createContract, decodeError } from 'micro-eth-signer/abi.js'

// What gas costs depends on it.
export const HARDFORK = 'prague'

// Longest that the chain may take to start, or to answer one request, on a slow and busy machine. Only hangs reach it.
const PATIENCE_MS = 90_000

// The program comes as a package for this kind of machine; elsewhere it has to be on the PATH.
function program () {
  const packaged = new URL('node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil', import.meta.url).pathname
  return existsSync(packaged) && process.arch === 'x64' && process.platform === 'linux' ? packaged : 'anvil'
}

async function startAnvil () {
  // Each step is kept, since what a call costs besides its bytes is told by them alone.
  const args = ['--host', '127.0.0.1', '--port', '0', '--hardfork', HARDFORK, '--accounts', '1', '--steps-tracing']
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

export class Chain {
  #url
  #requests = 0
  #stop
  #from

  static async start () {
    const chain = new Chain()
    const { url, stop } = await startAnvil()
    chain.#url = url
    chain.#stop = stop
    chain.#from = (await chain.rpc('eth_accounts'))[0]
    return chain
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
    const hash = await this.rpc('eth_sendTransaction', { from: this.#from, ...transaction })
    const patience = AbortSignal.timeout(PATIENCE_MS)
    let receipt
    // Mined at once, but not always before the hash is told.
    while (!(receipt = await this.rpc('eth_getTransactionReceipt', hash))) {
      patience.throwIfAborted()
      await setTimeout(5)
    }
    if (receipt.status !== '0x1') throw new Error(`the transaction failed: ${JSON.stringify(receipt)}`)
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
    const functions = createContract(abi)
    return {
      address,
      gas: Number(receipt.gasUsed),
      data: (method, input) => hexOf(functions[method].encodeInput(input)),
      // What a view gives: {value}, or {error} with the name of the contract's error.
      call: async (method, input) => {
        const data = hexOf(functions[method].encodeInput(input))
        const answer = await this.#ask('eth_call', [{ from: this.#from, to: address, data }, 'latest'])
        if (!answer.error) return { value: functions[method].decodeOutput(bytesOfHex(answer.result)) }
        const error = typeof answer.error.data === 'string' ? decodeError(answer.error.data, abi) : undefined
        if (!error) throw new Error(`${method}: ${JSON.stringify(answer.error)}`)
        return { error: error.name, args: error.args }
      }
    }
  }
}

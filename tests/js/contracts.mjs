// Compiles the contracts of actors/registry/contracts with the compiler and the settings stated here.
//
//   node contracts.mjs check    compiles again and compares with the artifacts that are checked in, to the byte
//   node contracts.mjs write    writes the artifacts
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import solc from 'solc'

const home = new URL('../../actors/registry/contracts/', import.meta.url)
const artifacts = new URL('artifacts/', home)

const settings = {
  // Deployed once, called often.
  optimizer: { enabled: true, runs: 10_000 },
  viaIR: true,
  // The oldest rules that all chains of proof of stake and their second layers still run.
  evmVersion: 'paris',
  // Comments and paths do not change the bytecode.
  metadata: { bytecodeHash: 'none' },
  outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object'] } }
}

function compile (file) {
  const sources = { [file]: { content: readFileSync(new URL(file, home), 'utf8') } }
  const output = JSON.parse(solc.compile(JSON.stringify({ language: 'Solidity', sources, settings })))
  // A warning is as bad as an error here.
  if (output.errors?.length) throw new Error(output.errors.map(error => error.formattedMessage).join('\n'))
  const name = basename(file, '.sol')
  const { abi, evm } = output.contracts[file][name]
  const { outputSelection, ...kept } = settings
  return {
    contractName: name,
    compiler: solc.version(),
    settings: kept,
    abi,
    bytecode: `0x${evm.bytecode.object}`,
    deployedBytecode: `0x${evm.deployedBytecode.object}`
  }
}

function main (how) {
  const sources = readdirSync(home).filter(file => file.endsWith('.sol')).sort()
  const names = sources.map(file => basename(file, '.sol'))
  if (!names.length) throw new Error(`no contracts in ${home.pathname}`)
  for (const [i, file] of sources.entries()) {
    const at = new URL(`${names[i]}.json`, artifacts)
    const text = `${JSON.stringify(compile(file), null, 2)}\n`
    if (how === 'write') writeFileSync(at, text)
    else if (readFileSync(at, 'utf8') !== text) throw new Error(`${at.pathname} is not what ${file} compiles to`)
    console.log(`${names[i]} ${how === 'write' ? 'written' : 'the same'}`)
  }
  const others = readdirSync(artifacts).filter(file => !names.includes(basename(file, '.json')))
  if (others.length) throw new Error(`artifacts of no contract: ${others.join(', ')}`)
}

const how = process.argv[2]
if (how !== 'check' && how !== 'write') throw new Error('say check or write')
main(how)

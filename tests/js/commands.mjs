// How these programs are driven: one JSON object a line.
//
//   argument   {…}                        options of the program
//   stdout     {"ready": {…}}             once, when it can be used
//   stdin      {"id": 1, "do": "call", …} a command
//   stdout     {"id": 1, "ok": …}         its result, or {"id": 1, "error": "…"}; in any order
//
// A program ends when its standard input closes, and at the latest when its life is over, so that none outlives
// the test that started it. Whatever libraries say goes to standard error.
import { createInterface } from 'node:readline'

const LIFE_MS = 10 * 60_000

export async function run (start) {
  setTimeout(() => {
    console.error('the life of this program is over')
    process.exit(3)
  }, LIFE_MS)
  process.on('unhandledRejection', err => console.error('unhandled rejection:', err))
  process.on('uncaughtException', err => console.error('uncaught exception:', err))

  const say = line => process.stdout.write(JSON.stringify(line) + '\n')
  // Reading begins before the start, so that a test that is over ends the program at any time.
  const lines = createInterface({ input: process.stdin })
  const early = []
  let take = line => early.push(line)
  lines.on('line', line => take(line))
  lines.on('close', () => process.exit(0))

  let commands
  try {
    const started = await start(JSON.parse(process.argv[2] ?? '{}'))
    commands = started.commands
    say({ ready: started.ready })
  } catch (err) {
    console.error('cannot start:', err)
    process.exit(1)
  }
  take = async line => {
    const { id, do: name, ...args } = JSON.parse(line)
    try {
      const command = commands[name]
      if (command == null) {
        throw new Error(`there is no command ${name}; there are ${Object.keys(commands).join(', ')}`)
      }
      say({ id, ok: (await command(args)) ?? null })
    } catch (err) {
      say({ id, error: `${err.name}: ${err.message}` })
    }
  }
  early.forEach(line => take(line))
}

// Asks again until `probe` gives something, at most so long.
export async function until (what, probe, waitMs = 60_000) {
  const begun = Date.now()
  for (;;) {
    const value = await probe()
    if (value != null && value !== false) {
      return value
    }
    if (Date.now() - begun > waitMs) {
      throw new Error(`gave up waiting for ${what}`)
    }
    await pause(20)
  }
}

export const pause = ms => new Promise(resolve => setTimeout(resolve, ms))

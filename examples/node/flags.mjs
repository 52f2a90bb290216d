// May a call go ahead? One call a line on stdin, `{"user": "u-42", "model": "gpt-4o"}`, answered from memory.
// The flags are read to their end first, and then followed.
import { randomUUID } from 'node:crypto'
import { createInterface } from 'node:readline'
import { endsOf, kafka, topics } from './tollgate.mjs'

// In the order in which a combined scope names them.
const dimensions = ['user', 'org', 'service', 'provider', 'model', 'agent', 'campaign', 'feature', 'product']
const joint = new RegExp(`(\\+|%(?:25)*2B)(?=(?:${dimensions.join('|')})/)`, 'g')
const flags = new Map()

// The last record of a scope counts; an older revision can only be a repeat.
function take (key, value) {
  if (value === null) return flags.delete(key)
  try {
    const flag = JSON.parse(value)
    if (flag.revision >= (flags.get(key)?.revision ?? 0)) flags.set(key, flag)
  } catch (error) {
    console.error('ignored a record that is no flag:', error.message)
  }
}

async function follow () {
  // In a group of this process alone, because every process needs every flag. It reads committed records only.
  const groupId = `flags-${randomUUID()}`
  const consumer = kafka.consumer({ groupId, allowAutoTopicCreation: false, maxWaitTimeInMs: 100 })
  const ends = await endsOf(topics.flags)
  const missing = new Map(ends.filter(({ end }) => end > 0n).map(({ partition, end }) => [partition, end]))
  await consumer.connect()
  await consumer.subscribe({ topic: topics.flags, fromBeginning: true })
  const read = new Promise(resolve => {
    if (missing.size === 0) resolve()
    // By position, because compaction and the marks of transactions leave holes in the offsets.
    consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload }) => {
      if (BigInt(payload.lastOffset) + 1n >= missing.get(payload.partition)) missing.delete(payload.partition)
      if (missing.size === 0) resolve()
    })
  })
  const eachMessage = async ({ message: { key, value } }) => take(String(key), value)
  await consumer.run({ autoCommit: false, eachMessage })
  await read
  return consumer
}

// `user/u-42`. A plus in a name that would look like the joint of two names is escaped.
function scopeOf (dimension, name) {
  return `${dimension}/${name.replace(joint, found => (found === '+' ? '%2B' : `%25${found.slice(1)}`))}`
}

// The single scopes of a call, and their combinations of two and three.
function scopesOf (call) {
  const singles = dimensions.filter(dimension => call[dimension]).map(dimension => scopeOf(dimension, call[dimension]))
  const pairs = singles.flatMap((a, i) => singles.slice(i + 1).map(b => `${a}+${b}`))
  const triples = singles.flatMap((a, i) =>
    singles.slice(i + 1).flatMap((b, j) => singles.slice(i + j + 2).map(c => `${a}+${b}+${c}`)))
  return [...singles, ...pairs, ...triples]
}

export function check (call, now = Date.now()) {
  const scopes = scopesOf(call)
  const until = flag => (flag.until == null ? Infinity : Date.parse(flag.until))
  const blocking = ['global', ...scopes]
    .map(scope => flags.get(scope))
    .filter(flag => flag?.blocked && now < until(flag) && !flag.except?.some(scope => scopes.includes(scope)))
  if (blocking.length === 0) return { allowed: true }
  // A stop of all spending is told first, and then the block that lasts longest.
  const stops = flag => flag.reason === 'spending_stopped'
  const comesFirst = (a, b) => (stops(a) === stops(b) ? until(a) > until(b) : stops(a))
  const flag = blocking.reduce((found, other) => (comesFirst(other, found) ? other : found))
  return {
    allowed: false,
    http_status: stops(flag) ? 503 : 429,
    error: stops(flag) ? 'spending_stopped' : 'usage_limit_exceeded',
    scope: flag.scope,
    // A lifetime ends in the year 9999, which is no time to wait for.
    retry_after_seconds: until(flag) < Date.UTC(3000) ? Math.ceil((until(flag) - now) / 1000) : null
  }
}

const consumer = await follow()
for await (const line of createInterface({ input: process.stdin })) console.log(JSON.stringify(check(JSON.parse(line))))
await consumer.disconnect()

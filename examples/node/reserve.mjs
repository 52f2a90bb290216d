// Sets money aside for a call, `node reserve.mjs u-42 0.10`, and prints the decision; the status is 1 when it is denied.
// With what the call used as a third argument, `'{"input_tokens": 1200, "output_tokens": 300}'`, the reservation is
// settled; without, as when the call failed, it is released.
import { randomInt } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { endsOf, event, kafka, newId, newProducer, publish, source, topics } from './tollgate.mjs'

const [user, amount, used] = process.argv.slice(2)
const call = { provider: 'openai', model: 'gpt-4o' }

// A service does this part once. Decisions come to one partition, under a key that no other process has.
const replyTo = `${source}-${newId()}`
const producer = await newProducer()
const consumer = kafka.consumer({ groupId: replyTo, allowAutoTopicCreation: false, maxWaitTimeInMs: 50 })
const ends = await endsOf(topics.decisions)
const { partition, end } = ends[randomInt(ends.length)]
const waiting = new Map()
await consumer.connect()
await consumer.subscribe({ topic: topics.decisions })
await consumer.run({
  autoCommit: false,
  eachMessage: async ({ message: { key, value } }) => {
    const decision = String(key) === replyTo ? JSON.parse(value) : undefined
    waiting.get(decision?.reservation_id)?.(decision)
  }
})
consumer.seek({ topic: topics.decisions, partition, offset: String(end) })
// The other partitions have the answers of others.
const others = ends.map(other => other.partition).filter(other => other !== partition)
consumer.pause([{ topic: topics.decisions, partitions: others }])

const id = newId()
const data = { amount_usd: amount, ttl_seconds: 60, reply_to: replyTo, reply_partition: partition, ...call }
const answer = new Promise(resolve => waiting.set(id, resolve))
await publish(producer, event('reservation', id, user, data))
const decision = await Promise.race([answer, setTimeout(5000, undefined, { ref: false })])
if (decision === undefined) {
  // It may be granted all the same. Whether the call goes ahead now is the service's choice.
  await publish(producer, event('release', `${id}/release`, user, { reservation_id: id }))
  throw new Error('no decision within 5 s: does a worker run?')
}
console.log(JSON.stringify(decision))
if (decision.granted && used !== undefined) {
  await publish(producer, event('usage', newId(), user, { ...call, usage: JSON.parse(used), reservation_id: id }))
} else if (decision.granted) {
  await publish(producer, event('release', `${id}/release`, user, { reservation_id: id }))
}
process.exitCode = decision.granted ? 0 : 1
await Promise.all([producer.disconnect(), consumer.disconnect()])

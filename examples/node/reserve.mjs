// Sets money aside for a call, `node reserve.mjs u-42 0.10`, and prints the decision; the status is 1 when it is denied.
// With what the call used as a third argument, `'{"input_tokens": 1200, "output_tokens": 300}'`, the reservation is
// settled; without, as when the call failed, it is released.
import { randomInt } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { Consumer, FetchIsolationLevels, MessagesStreamModes, stringDeserializers } from '@platformatic/kafka'
import { connection, event, newId, newProducer, publish, source, topics } from './tollgate.mjs'

const [user, amount, used] = process.argv.slice(2)
const call = { provider: 'openai', model: 'gpt-4o' }

// A service does this part once. Decisions come to one partition, under a key that no other process has.
const replyTo = `${source}-${newId()}`
const producer = newProducer()
const consumer = new Consumer({
  ...connection,
  groupId: replyTo,
  isolationLevel: FetchIsolationLevels.READ_COMMITTED,
  deserializers: stringDeserializers
})
// From here on: a decision that comes before the stream is open is in it all the same.
const ends = (await consumer.listOffsets({ topics: [topics.decisions] })).get(topics.decisions)
const partition = randomInt(ends.length)
const stream = await consumer.consume({
  topics: [topics.decisions],
  mode: MessagesStreamModes.MANUAL,
  offsets: [{ topic: topics.decisions, partition, offset: ends[partition] }],
  partitionAssigner: me => [{ memberId: me, assignments: new Map([[topics.decisions, { topic: topics.decisions, partitions: [partition] }]]) }],
  autocommit: false,
  maxWaitTime: 50
})

async function decided (id) {
  for await (const { key, value } of stream) {
    const decision = key === replyTo ? JSON.parse(value) : undefined
    if (decision?.reservation_id === id) return decision
  }
}

const id = newId()
const data = { amount_usd: amount, ttl_seconds: 60, reply_to: replyTo, reply_partition: partition, ...call }
await publish(producer, event('reservation', id, user, data))
const decision = await Promise.race([decided(id), setTimeout(5000, undefined, { ref: false })])
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
await Promise.all([producer.close(), consumer.close(true)])

// What the three programs share: where Kafka is, and how an event looks.
import { randomUUID } from 'node:crypto'
import { ProduceAcks, Producer, compatibilityPartitioner, stringSerializers } from '@platformatic/kafka'

export const connection = {
  clientId: 'chat-api',
  bootstrapBrokers: (process.env.TOLLGATE_KAFKA_BOOTSTRAP_SERVERS ?? '127.0.0.1:9092').split(',')
}
const prefix = process.env.TOLLGATE_TOPIC_PREFIX ?? 'tollgate.'
export const topics = { usage: `${prefix}usage`, flags: `${prefix}flags`, decisions: `${prefix}decisions` }

// Names this service. `source` and `id` together are an event's identity.
export const source = 'chat-api'
export const newId = randomUUID

export function event (kind, id, user, data) {
  return { specversion: '1.0', type: `tollgate.${kind}.v1`, source, id, subject: user, time: new Date().toISOString(), data }
}

export function newProducer () {
  return new Producer({
    ...connection,
    serializers: stringSerializers,
    acks: ProduceAcks.ALL,
    idempotent: true,
    // Java's murmur2, as every other client of Kafka has it. This library's default is another one.
    partitioner: compatibilityPartitioner
  })
}

// Resolves once Kafka has stored the event. When it fails, send the same event again: its id counts once.
export async function publish (producer, event) {
  await producer.send({ messages: [{ topic: topics.usage, key: event.subject, value: JSON.stringify(event) }] })
}

// What the three programs share: where Kafka is, and how an event looks.
import { randomUUID } from 'node:crypto'
import { Kafka, Partitioners, logLevel } from 'kafkajs'

export const kafka = new Kafka({
  clientId: 'chat-api',
  brokers: (process.env.TOLLGATE_KAFKA_BOOTSTRAP_SERVERS ?? '127.0.0.1:9092').split(','),
  logLevel: logLevel.WARN
})
const prefix = process.env.TOLLGATE_TOPIC_PREFIX ?? 'tollgate.'
export const topics = { usage: `${prefix}usage`, flags: `${prefix}flags`, decisions: `${prefix}decisions` }

// Names this service. `source` and `id` together are an event's identity.
export const source = 'chat-api'
export const newId = randomUUID

export function event (kind, id, user, data) {
  const time = new Date().toISOString()
  return { specversion: '1.0', type: `tollgate.${kind}.v1`, source, id, subject: user, time, data }
}

// What the library calls its default partitioner is Java's murmur2. A producer that is idempotent waits for all replicas.
export async function newProducer () {
  const createPartitioner = Partitioners.DefaultPartitioner
  const producer = kafka.producer({ idempotent: true, allowAutoTopicCreation: false, createPartitioner })
  await producer.connect()
  return producer
}

// Where each partition of a topic ends now.
export async function endsOf (topic) {
  const admin = kafka.admin()
  await admin.connect()
  const ends = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()
  return ends.map(({ partition, high }) => ({ partition, end: BigInt(high) }))
}

// Resolves once Kafka has stored the event. When it fails, send the same event again: its id counts once.
export async function publish (producer, event) {
  await producer.send({ topic: topics.usage, messages: [{ key: event.subject, value: JSON.stringify(event) }] })
}

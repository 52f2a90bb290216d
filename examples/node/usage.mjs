// Records calls: one JSON object a line on stdin, `{"user": "u-42", "provider": "openai", "model": "gpt-4o",
// "usage": {"input_tokens": 1200, "output_tokens": 300}}`. Prints the id of each event once Kafka has stored it.
import { createInterface } from 'node:readline'
import { event, newId, newProducer, publish } from './tollgate.mjs'

const producer = await newProducer()
for await (const line of createInterface({ input: process.stdin })) {
  const { user, ...data } = JSON.parse(line)
  const usage = event('usage', newId(), user, data)
  await publish(producer, usage)
  console.log(usage.id)
}
await producer.disconnect()

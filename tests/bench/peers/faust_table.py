"""The job in stock Faust: decode, price, one increment of a table, one output record. Not exact, and no repeats found.

Runs in the peers' environment: `faust_table.py worker -l error`, with its addresses in the environment.
"""

import os

import faust
import msgspec

# 10⁻¹² USD per unit: the least that can be called pricing.
RATES = {"input_tokens": 2_500_000, "cached_input_tokens": 1_250_000, "output_tokens": 10_000_000}

decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode

app = faust.App(
    os.environ["BENCH_APPLICATION"],
    broker=f"kafka://{os.environ['BENCH_SERVERS']}",
    topic_partitions=8,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    web_enabled=False,
    datadir=os.environ["BENCH_DIRECTORY"],
    cython_optimizations=True,
    # The default of 16 KiB makes the producer stall under load.
    producer_max_batch_size=512 * 1024,
    producer_linger=0.01,
)
usage = app.topic(os.environ["BENCH_SOURCE"], value_type=bytes, value_serializer="raw", key_serializer="raw")
priced = app.topic(os.environ["BENCH_OUTPUT"], value_type=bytes, value_serializer="raw", key_serializer="raw")
spend = app.Table("spend", default=int, partitions=8, key_type=str, value_type=int)


@app.agent(usage)  # type: ignore[untyped-decorator] # Faust ships no types
async def count(events: "faust.StreamT[bytes]") -> None:
    async for value in events:
        event = decode(value)
        user, data = event["subject"], event["data"]
        cost = sum(amount * RATES.get(name, 0) for name, amount in data["usage"].items())
        spend[user] += cost
        data["cost"], data["user"], data["id"] = cost, user, event["id"]
        priced.send_soon(key=user.encode(), value=encode(data))


if __name__ == "__main__":
    app.main()

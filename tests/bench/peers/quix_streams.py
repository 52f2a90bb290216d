"""The job in Quix Streams, exactly once: decode, price, one increment of state, one output record.

Repeats are not found. Runs in the peers' environment, with its addresses in the environment.
"""

import os
from typing import Any

import msgspec
from quixstreams import Application, State

# 10⁻¹² USD per unit: the least that can be called pricing.
RATES = {"input_tokens": 2_500_000, "cached_input_tokens": 1_250_000, "output_tokens": 10_000_000}

decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode


def count(value: bytes, state: State) -> bytes:
    event = decode(value)
    user, data = event["subject"], event["data"]
    cost = sum(amount * RATES.get(name, 0) for name, amount in data["usage"].items())
    state.set("spent", state.get("spent", 0) + cost)
    data["cost"], data["user"], data["id"] = cost, user, event["id"]
    encoded: bytes = encode(data)
    return encoded


def main() -> None:
    app = Application(
        broker_address=os.environ["BENCH_SERVERS"],
        consumer_group=os.environ["BENCH_APPLICATION"],
        auto_offset_reset="earliest",
        processing_guarantee=os.environ.get("BENCH_GUARANTEE", "exactly-once"),
        state_dir=os.environ["BENCH_DIRECTORY"],
        commit_interval=1.0,
        loglevel="WARNING",
    )
    usage = app.topic(os.environ["BENCH_SOURCE"], value_deserializer="bytes", key_deserializer="bytes")
    priced = app.topic(os.environ["BENCH_OUTPUT"], value_serializer="bytes", key_serializer="bytes")
    frame: Any = app.dataframe(usage)
    frame.apply(count, stateful=True).to_topic(priced)
    app.run()


if __name__ == "__main__":
    main()

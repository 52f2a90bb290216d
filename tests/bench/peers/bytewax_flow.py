"""The job in Bytewax: decode, price, one increment of state, one output record. Repeats are not found.

Its state and its place in the input are snapshots of its own, on the local disk, once a second. Bytewax has no Kafka
output that is exactly once: after a crash it writes everything since the last snapshot again. So it does less than the
job asks for, and what is measured is at least once. Runs in the peers' environment, with its addresses there.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import msgspec
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kafka
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

# 10⁻¹² USD per unit: the least that can be called pricing.
RATES = {"input_tokens": 2_500_000, "cached_input_tokens": 1_250_000, "output_tokens": 10_000_000}

decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode


def user_and_event(message: KafkaSourceMessage[bytes, bytes]) -> tuple[str, dict[str, Any]]:
    event = decode(message.value)
    return event["subject"], event


def count(spent: int | None, event: dict[str, Any]) -> tuple[int, bytes]:
    data = event["data"]
    cost = sum(amount * RATES.get(name, 0) for name, amount in data["usage"].items())
    data["cost"], data["user"], data["id"] = cost, event["subject"], event["id"]
    return (spent or 0) + cost, encode(data)


def to_message(counted: tuple[str, bytes]) -> KafkaSinkMessage[bytes, bytes]:
    user, value = counted
    return KafkaSinkMessage(user.encode(), value)


def main() -> None:
    servers = [os.environ["BENCH_SERVERS"]]
    flow = Dataflow("count")
    usage = op.input("usage", flow, KafkaSource(servers, [os.environ["BENCH_SOURCE"]]))
    by_user = op.map("decode", usage, user_and_event)
    counted = op.stateful_map("count", by_user, count)
    kafka.output("priced", op.map("encode", counted, to_message), brokers=servers, topic=os.environ["BENCH_OUTPUT"])
    snapshots = Path(os.environ["BENCH_DIRECTORY"])
    init_db_dir(snapshots, 1)
    cli_main(flow, epoch_interval=timedelta(seconds=1), recovery_config=RecoveryConfig(snapshots))


if __name__ == "__main__":
    main()

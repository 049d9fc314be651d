"""What of ours lies in the cluster: three streams and a consumer for each partition.

SAMPLES   samples.P.STREAM   every block, as it came; published to samples.STREAM, the server's subject
                             transform puts in the partition. Kept for `retention_s`.
          orders.P.WHAT      among them, what somebody wants of a partition, and that time goes on
RESULTS   results.P          one commit after the other (monitor.cluster.partition)
STATES    states.P           frozen shards, in pieces, that commits refer to
"""

from __future__ import annotations

import asyncio
from typing import Any

from monitor.cluster.jetstream import JetStream
from monitor.config import Cluster
from monitor.core.errors import ConfigError
from monitor.sources import MAX_MESSAGE_BYTES

SAMPLES, RESULTS, STATES = "SAMPLES", "RESULTS", "STATES"
ORDERS = "orders"
WORKERS = "monitor.workers"
"""Subject on which workers say that they are there, and what they have."""
CLOCK = "clock"
"""Order without content: nothing has come for a moment, and time has gone on."""
GROUP = "worker"
PIN_S = 1.0
"""A worker that has not asked for so long has lost its partition to the next one who asks."""
ACK_WAIT_S = 10.0
"""What a worker has been given it may take so long for; nobody waits for this when it dies."""
UNACKNOWLEDGED = 1024
"""Messages of a partition that may be under way at once."""

_KEPT_COMMITS = 20_000
_KEPT_PIECES = 64
_NS = 10**9


def samples_subject(stream: str) -> str:
    """Where blocks of a stream are published; the slashes of its name are plain characters to NATS."""
    return f"samples.{stream}"


def stream_subject(stream: str) -> str:
    """Where blocks of a stream lie, whatever its partition."""
    return f"samples.*.{stream}"


def blocks_subject(partition: int) -> str:
    """Where the blocks of a partition lie, without its orders."""
    return f"samples.{partition}.*"


def partition_of(subject: str) -> int:
    """The partition of a message with this subject."""
    return int(subject.split(".")[1])


def partition_subject(partition: int) -> str:
    """Where the blocks of a partition lie, and its orders."""
    return f"*.{partition}.*"


def orders_subject(partition: int, what: str) -> str:
    """Where orders to a partition are published, and lie."""
    return f"{ORDERS}.{partition}.{what}"


def results_subject(partition: int | str) -> str:
    """Where the commits of a partition lie."""
    return f"results.{partition}"


def states_said_subject(partition: int | str) -> str:
    """Where workers say, about once a second, how the streams of a partition are doing."""
    return f"monitor.{partition}.states"


def states_subject(partition: int | str) -> str:
    """Where the frozen shards of a partition lie."""
    return f"states.{partition}"


def consumer_of(partition: int) -> str:
    """The consumer that hands out a partition."""
    return f"partition-{partition}"


async def make_streams(js: JetStream, settings: Cluster) -> int:
    """Make what is not there yet; the number of partitions, which is settled when it is first made.

    Raises ConfigError for more replicas than there are servers.
    """
    common: dict[str, Any] = {
        "num_replicas": settings.replicas,
        "allow_direct": True,
        "max_msg_size": MAX_MESSAGE_BYTES,
    }
    await js.make(
        SAMPLES,
        {
            **common,
            "subjects": [samples_subject("*"), f"{ORDERS}.*.*"],
            "subject_transform": {
                "src": samples_subject("*"),
                "dest": f"samples.{{{{partition({settings.partitions},1)}}}}.{{{{wildcard(1)}}}}",
            },
            "max_age": round(settings.retention_s * _NS),
            "duplicate_window": round(min(120.0, settings.retention_s) * _NS),
            "metadata": {"partitions": str(settings.partitions)},
        },
    )
    await js.make(
        RESULTS, {**common, "subjects": [results_subject("*")], "max_msgs_per_subject": _KEPT_COMMITS}
    )  # fmt: skip
    await js.make(STATES, {**common, "subjects": [states_subject("*")], "max_msgs_per_subject": _KEPT_PIECES})
    partitions = await count_partitions(js)

    async def make_consumer(name: str, partition: int) -> None:
        consumer = {
            "durable_name": name,
            "filter_subject": partition_subject(partition),
            "ack_policy": "all",
            "ack_wait": round(ACK_WAIT_S * _NS),
            "max_ack_pending": UNACKNOWLEDGED,
            "priority_groups": [GROUP],
            "priority_policy": "pinned_client",
            "priority_timeout": round(PIN_S * _NS),
        }
        await js.call(f"CONSUMER.DURABLE.CREATE.{SAMPLES}.{name}", {"stream_name": SAMPLES, "config": consumer})

    await asyncio.gather(*(make_consumer(consumer_of(number), number) for number in range(partitions)))
    return partitions


async def count_partitions(js: JetStream) -> int:
    """Into how many partitions this cluster divides its streams; raises ConfigError where there are none."""
    config = (await js.call(f"STREAM.INFO.{SAMPLES}"))["config"]
    try:
        return int(config["metadata"]["partitions"])
    except (KeyError, ValueError) as error:
        raise ConfigError(f"the cluster has a stream {SAMPLES} that is not ours: take another account") from error

"""The worker's bootstrap: settings in, a running Faust app out."""

import asyncio
import gc
import logging
import socket
from pathlib import Path
from typing import Any

import faust
import structlog
import uvloop
from faust.web import Request, Response, View
from yarl import URL

from tollgate.domain.pricing import load_price_book
from tollgate.ledger import CoreMissingError, choose_core, fatal
from tollgate.runtime.kafka import METADATA_MAX_AGE_MS, client_options, once_kafka_answers, wait_for_topics
from tollgate.runtime.logs import configure_logs
from tollgate.runtime.settings import Settings
from tollgate.runtime.topics_admin import apply_topics
from tollgate.schemas.topics import Topic
from tollgate.worker.assignor import lane_assignor
from tollgate.worker.control import ControlReader
from tollgate.worker.life import REPORT_SECONDS, SESSION_SECONDS, TICK_SECONDS, Life
from tollgate.worker.metrics import render
from tollgate.worker.shared_flags import SharedFlags
from tollgate.worker.transport import LedgerApp

log = structlog.get_logger("tollgate.worker")

# The topics whose records go to the engine.
_READ = (Topic.USAGE, Topic.ENTRIES, Topic.DELTAS)

# What a worker reads and recovers from, and what a release before this one did not make: where one of these is missing,
# `tollgate topics apply` was not run.
_NEEDED = (
    *_READ, Topic.CONTROL, Topic.USER_STATE, Topic.SHARED_STATE, Topic.IDENTITIES,
    Topic.DECISIONS, Topic.BALANCES, Topic.METERS, Topic.FLAGS,
)  # fmt: skip

# The status of a process whose settings or topics only a person can mend.
EXIT_CONFIGURATION = 2


def run(settings: Settings) -> int:
    """Count usage events until SIGTERM; returns the exit status. Waits for Kafka and the topics, with back-off.

    Returns 2 at once when a topic has the wrong number of partitions (events would go to owners they do not have) or
    the compiled core is asked for and missing.
    """
    configure_logs(settings.log_level, settings.log_format)
    if settings.log_level != "debug":
        # Faust tells of each of its services' starts and stops; our own lines say what an operator needs.
        for name in ("faust", "mode", "aiohttp", "tollgate.worker.transport"):
            logging.getLogger(name).setLevel(logging.WARNING)
    try:
        log.info("usage events are counted", core=choose_core(settings.core))
    except CoreMissingError as error:
        log.error(f"the worker does not start: {error}")
        return EXIT_CONFIGURATION
    uvloop.install()
    control = asyncio.run(_prepare(settings))
    if control is None:
        return EXIT_CONFIGURATION
    app = build_app(settings, control)
    # With millions of small long-lived objects a full garbage collection takes long; young objects are still collected.
    gc.freeze()
    gc.set_threshold(200_000, 20, 1_000)
    worker = app.Worker(
        loglevel=None, override_logging=False, quiet=True, redirect_stdouts=False, workdir=Path.cwd(), loop=None
    )
    # It writes control sequences for a terminal, also into log files.
    worker.spinner = None
    try:
        worker.execute_from_commandline()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


async def _prepare(settings: Settings) -> ControlReader | None:
    """Wait for Kafka; None when a topic has another number of partitions than the settings say."""
    await wait_for_topics(settings, _NEEDED)
    # Kafka may go away again at any moment.
    report = await once_kafka_answers(settings, lambda: apply_topics(settings, dry_run=True))
    for topic in report.named("grown"):
        log.warning("a topic has more partitions than specified", topic=topic.topic, detail=topic.detail)
    for broker in report.brokers:
        if broker.stops:
            log.warning("the broker's configuration may stop the ledger", detail=broker.sentence)
    wrong = report.named("mismatch")
    for outcome in wrong:
        log.error("a topic is not as specified; the worker does not start", topic=outcome.topic, detail=outcome.detail)
    if wrong:
        return None
    return ControlReader(settings, load_price_book(settings.price_book), SharedFlags(settings))


def build_app(settings: Settings, control: ControlReader) -> LedgerApp:
    """The Faust app with its engine, web pages and background tasks. Opens no connection yet."""
    port = settings.worker_port or _free_port(settings.worker_host)
    data_dir = settings.data_dir / "faust" / settings.worker_id
    data_dir.mkdir(parents=True, exist_ok=True)
    app = LedgerApp(
        settings.application,
        broker=[URL(f"kafka://{address.strip()}") for address in settings.kafka_bootstrap_servers.split(",")],
        **_security(settings),
        # The assignor knows a member by this URL and refuses a static member that returns with another, so it is made
        # of the worker's id. Nothing connects to it.
        canonical_url=f"http://{settings.worker_id}",
        web_bind=settings.worker_host,
        web_port=port,
        # Probes answer while the loop is busy counting a backlog.
        web_in_thread=True,
        datadir=str(data_dir),
        PartitionAssignor=lane_assignor(settings.lanes, {settings.topic(Topic.ENTRIES): settings.topic(Topic.USAGE)}),
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=METADATA_MAX_AGE_MS,
        # A worker that is killed and restarted under the same id takes its partitions back without a rebalance.
        consumer_group_instance_id=settings.worker_id,
        consumer_max_fetch_size=4 << 20,
        # All that was fetched, up to 4 MiB a partition: the larger a batch, the fewer rows are written per event.
        broker_max_poll_records=None,
        broker_session_timeout=SESSION_SECONDS,
        broker_heartbeat_interval=2.0,
        broker_rebalance_timeout=60.0,
        stream_wait_empty=False,
        worker_redirect_stdouts=False,
        web_cors_options=None,
    )
    app.core = choose_core(settings.core)
    _add_tasks(app, settings, control)
    _add_pages(app)
    return app


def _security(settings: Settings) -> dict[str, Any]:
    options = client_options(settings)
    context = options.get("ssl_context")
    if "sasl_oauth_token_provider" in options:
        tokens = faust.OAuthCredentials(oauth_cb=options["sasl_oauth_token_provider"], ssl_context=context)
        return {"broker_credentials": tokens}
    if "sasl_mechanism" in options:
        credentials: Any = faust.SASLCredentials(
            mechanism=options["sasl_mechanism"],
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            ssl_context=context,
        )
        return {"broker_credentials": credentials}
    return {"broker_credentials": faust.SSLCredentials(context)} if context is not None else {}


def _add_tasks(app: LedgerApp, settings: Settings, control: ControlReader) -> None:
    # A topic is subscribed to only if an agent names it; the ledger takes its records before any agent sees them.
    for topic in _READ:
        channel = app.topic(settings.topic(topic), value_type=bytes, value_serializer="raw", key_serializer="raw")

        async def unreachable(stream: Any) -> None:
            async for _ in stream:
                fatal("a record of the ledger's topics went the usual way")

        app.agent(channel, name=f"tollgate.worker.{topic.value}")(unreachable)

    life = Life(app, settings, control)
    app.on_rebalance_complete.connect(life.acquire)
    app.timer(TICK_SECONDS)(life.tick)
    app.timer(REPORT_SECONDS)(life.report)


def _add_pages(app: LedgerApp) -> None:
    async def live(view: View, _request: Request) -> Response:
        return view.json({"status": "live"})

    async def ready(view: View, _request: Request) -> Response:
        engine = app.engine
        if engine is None or not engine.ready or app.rebalancing:
            return view.json({"status": "recovering"}, status=503)
        return view.json({"status": "ready" if engine.partitions else "standby", "partitions": len(engine.partitions)})

    async def metrics(view: View, _request: Request) -> Response:
        body = render(app.engine, app.consumer._thread.waiting()) if app.engine is not None else b""  # noqa: SLF001 # the thread is ours
        return view.bytes(body, content_type="text/plain; version=0.0.4")

    for path, page in (("/live", live), ("/ready", ready), ("/metrics", metrics)):
        app.page(path)(page)


def _free_port(host: str) -> int:
    with socket.socket() as s:
        s.bind((host, 0))
        return int(s.getsockname()[1])

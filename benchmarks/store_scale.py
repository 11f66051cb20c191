"""A full PostgreSQL: millions of daily rows, a hundred thousand models, and how the hot queries find their way in it.

Every query is asked through the store and the registry themselves. What they send is noted at the driver, and
PostgreSQL is asked to explain just that, with its parameters: the plans are those of the services.
"""

import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pandas as pd
import psycopg
import sqlalchemy as sa
from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.models import Candidate, ModelStatus
from adsml_common.registry.registry import ModelRegistry
from adsml_common.registry.tables import ml_model_events, ml_trained_models
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore
from sqlalchemy import event

LEVEL: Final = EntityType.ADSET
ACCOUNTS: Final = 10
VERSIONS: Final = 2
BIG: Final = ("daily_metrics", "ml_trained_models", "ml_model_events")
"""Tables that no hot query may read from end to end, once they have many rows: of few, that is the quickest way."""
MANY: Final = 20_000
_TAKEN: Final = 7
_REGISTERED: Final = 50
_COPY: Final = re.compile(r"COPY \((.*)\) TO STDOUT \(FORMAT BINARY\)", re.DOTALL)


@dataclass(frozen=True)
class Hot:
    """A query that services ask often.

    Attributes
    ----------
    p50_ms
        With what it costs us to ask and to read the answer.
    statements
        How many it sends.
    way
        How PostgreSQL finds the rows: what it reads, by which index.
    server_ms
        Of that, PostgreSQL's own time.
    read_whole
        Big tables that were read from end to end.
    """

    p50_ms: float
    statements: int
    way: list[str]
    server_ms: float
    read_whole: list[str]


class Heard:
    """Everything that is sent over new connections of a database, in the order of sending."""

    def __init__(self, database: Database) -> None:
        self.sent: list[tuple[str, Any]] = []
        sent = self.sent

        class Cursor(psycopg.Cursor[Any]):
            """Notes what goes through it."""

            def execute(self, query: Any, params: Any = None, **rest: Any) -> Any:
                """Note it."""
                sent.append((str(query), params))
                return super().execute(query, params, **rest)

            def copy(self, statement: Any, params: Any = None, **rest: Any) -> Any:
                """Note it."""
                sent.append((str(statement), params))
                return super().copy(statement, params, **rest)

        @event.listens_for(database.engine, "connect")
        def _connected(connection: "psycopg.Connection[Any]", _record: object) -> None:
            connection.cursor_factory = Cursor

    def queries(self, call: Callable[[], object]) -> list[tuple[str, Any]]:
        """What a call reads with."""
        self.sent.clear()
        call()
        found = []
        for text, params in self.sent:
            copied = _COPY.fullmatch(text.strip())
            query = copied.group(1) if copied else text
            if query.lstrip().upper().startswith("SELECT"):
                found.append((query, params))
        return found


SIZE = (
    "coalesce((SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('{table}')), "
    "pg_total_relation_size('{table}'))"
)
"""Bytes of a table, its partitions' where it has some."""


def fill_models(database: Database, folder: Path, *, models: int) -> dict[str, float]:
    """Register some models as services do, then clone their rows until there are `models`.

    Two versions of each name, the later one active. The clones share the artifacts' bytes with nobody: they have
    none, since no query here reads any.
    """
    registry = ModelRegistry(database, ArtifactStore(str(folder / "artifacts"), cache_dir=folder / "cache"))
    files = {"detector.json": b"{}" * 5_000}
    spent = []
    for number in range(_REGISTERED):
        for run in range(VERSIONS):
            before = time.perf_counter()
            made = registry.register(_candidate(f"seed{number}", run, files))
            registry.activate(made.name, made.version, actor="benchmark", reason="to be measured")
            spent.append(time.perf_counter() - before)
    wanted = models // VERSIONS - _REGISTERED
    columns = [one.name for one in ml_trained_models.c if one.name != "model_key"]
    cloned = {
        "name": "format('anomaly/%s/adset/%s', 1 + n % :accounts, n / :accounts)",
        "config_id": "1 + n % :accounts",
        "entity_id": "(n / :accounts)::text",
        "artifact_uri": "artifact_uri || '-' || n",
        "run_id": "run_id",
    }
    of_events = [one.name for one in ml_model_events.c if one.name != "event_key"]
    first = {"first": "anomaly/1/adset/seed0", "accounts": ACCOUNTS, "wanted": wanted}
    before = time.perf_counter()
    with database.write(bulk=True) as connection:
        chosen = ", ".join(cloned.get(name, name) for name in columns)
        connection.execute(
            sa.text(
                f"INSERT INTO ml_trained_models ({', '.join(columns)}) SELECT {chosen} "  # noqa: S608 - own names
                "FROM ml_trained_models, generate_series(0, :wanted - 1) n WHERE name = :first ORDER BY n, version"
            ),
            first,
        )
        chosen = ", ".join(cloned["name"] if name == "name" else name for name in of_events)
        connection.execute(
            sa.text(
                f"INSERT INTO ml_model_events ({', '.join(of_events)}) SELECT {chosen} "  # noqa: S608 - own names
                "FROM ml_model_events, generate_series(0, :wanted - 1) n WHERE name = :first ORDER BY n, event_key"
            ),
            first,
        )
    return {
        "register_and_activate_p50_ms": 1000 * statistics.median(spent),
        "clone_models_s": time.perf_counter() - before,
    }


def _candidate(entity_id: str, run: int, files: dict[str, bytes]) -> Candidate:
    return Candidate(
        name=f"anomaly/1/{LEVEL}/{entity_id}",
        model_type="mahalanobis",
        config_id=1,
        entity_type=LEVEL,
        entity_id=entity_id,
        files=files,
        parameters={"false_alarms_per_month": 1.0},
        feature_columns=("spend", "impressions", "clicks", "leads"),
        training_metrics={"days": 90},
        samples_count=90,
        window_start=None,
        window_end=None,
        run_id=f"run-{run}",
    )


def fill_days(
    store: MetricStore, make: Callable[[int], Iterator[pd.DataFrame]], *, rows: int
) -> dict[str, float]:
    """Load so many rows, shared out evenly between the accounts, each in one transaction as an import is."""
    spent = 0.0
    for config_id in range(1, ACCOUNTS + 1):
        before = time.perf_counter()
        with store.load(config_id, source="benchmark") as into:
            for frame in make(rows // ACCOUNTS):
                into.add(frame)
        spent += time.perf_counter() - before
    return {"load_s": spent, "load_rows_per_s": rows / spent}


def hot_queries(database: Database, heard: Heard, folder: Path, ids: list[str]) -> dict[str, Hot]:
    """Ask each, and how it was answered.

    Parameters
    ----------
    ids
        Of stored entities of account 1.
    """
    days, entities = MetricStore(database), EntityStore(database)
    registry = ModelRegistry(database, ArtifactStore(str(folder / "artifacts"), cache_dir=folder / "cache"))
    last = days.last_date(1)
    if last is None:
        raise RuntimeError("account 1 has no rows")
    start = last - timedelta(days=59)
    names = [f"anomaly/1/{LEVEL}/{number}" for number in range(1_000)]
    name = names[7]
    calls: dict[str, Callable[[], object]] = {
        "has this account changed": lambda: days.data_version(1),
        "has this entity changed": lambda: days.revisions(1, entity_type=LEVEL, entity_ids=[ids[3]]),
        "an account's last day": lambda: days.last_date(1),
        "an account's entities": lambda: entities.frame(1),
        "one entity, 60 days": lambda: days.daily(
            1, entity_type=LEVEL, entity_ids=[ids[3]], start=start, end=last
        ),
        "1,000 entities, 60 days": lambda: days.daily(
            1, entity_type=LEVEL, entity_ids=ids[:1000], start=start, end=last
        ),
        "an account, 60 days": lambda: days.daily(1, start=start, end=last),
        "the active version of a name": lambda: registry.active(name),
        "the active versions of 1,000 names": lambda: registry.active_of(names),
        "what was active before": lambda: registry.earlier(name),
        "what happened to a name": lambda: registry.events(name),
        "an account's models, first page": lambda: registry.list(config_id=1, model_type="mahalanobis"),
        "a family's models, first page": lambda: registry.list(name_prefix="anomaly/"),
        "a name's versions": lambda: registry.list(name=name),
        "every active model of a family, a page": lambda: next(
            registry.iterate(name_prefix="anomaly/", status=ModelStatus.ACTIVE)
        ),
    }
    found = {}
    for what, call in calls.items():
        sent = heard.queries(call)
        if not sent:
            raise RuntimeError(f"{what}: nothing was asked of the database")
        seconds = []
        for _ in range(_TAKEN):
            before = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - before)
        ways: list[str] = []
        whole: list[str] = []
        server = 0.0
        for query, params in sent:
            plan = _explained(database, query, params)
            server += plan["Execution Time"]
            _walk(plan["Plan"], ways, whole)
        found[what] = Hot(1000 * statistics.median(seconds), len(sent), ways, server, whole)
    return found


def _explained(database: Database, query: str, params: Any) -> dict[str, Any]:
    with database.read() as connection:
        plain = connection.connection.dbapi_connection
        if plain is None:
            raise RuntimeError("the connection is gone")
        cursor = plain.cursor()
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", params)
        [(told,)] = cursor.fetchall()
    plan: dict[str, Any] = told[0]
    return plan


def _walk(node: dict[str, Any], ways: list[str], whole: list[str]) -> None:
    table = node.get("Relation Name")
    index = node.get("Index Name")
    if table or index:
        ways.append(" ".join(one for one in (node["Node Type"], table, index) if one))
    read = node.get("Actual Rows", 0) + node.get("Rows Removed by Filter", 0)
    if node["Node Type"] == "Seq Scan" and table in BIG and read > MANY:
        whole.append(str(table))
    for below in node.get("Plans", ()):
        _walk(below, ways, whole)


def sizes(database: Database) -> dict[str, float]:
    """Megabytes of each big table with its indexes, and what a row of it takes."""
    out: dict[str, float] = {}
    with database.read() as connection:
        for table in (*BIG, "entities"):
            taken, count = connection.execute(
                sa.text(f"SELECT {SIZE.format(table=table)}, count(*) FROM {table}")  # noqa: S608 - own names
            ).one()
            out[f"{table}_rows"] = float(count)
            out[f"{table}_mb"] = taken / 2**20
            out[f"{table}_bytes_per_row"] = taken / max(count, 1)
    return out


def analyzed(database: Database) -> None:
    """Bring the planner's statistics up to date, as autovacuum does within minutes."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))

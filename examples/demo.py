"""From an export to answers: simulates an account, imports it, trains, serves, and asks over gRPC.

``make demo`` runs it. Everything it makes lies in the folder ``demo-data`` of this checkout.
"""

import contextlib
import datetime as dt
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points

import pandas as pd
import questions
from adsml_client import change_event, connect
from adsml_common.cli import family
from adsml_common.database import Database
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.store.changes import ChangeStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore
from counted import Calls, CountedConnection
from questions import Account, Change, Printer, ranked
from rich.console import Console
from rich.table import Table

from services import DATA, PORTS, ROOT, environment, running

CONFIG_ID = 1
SEED = 13
"""An account whose second-best ad set stops delivering on its last day."""
AFTER_DAYS = 9
"""A week after a change, and two days more for leads to come in."""
JOBS = {"classifier": "classifiers", "forecasting": "ensemble_weights", "anomaly": "anomaly_detectors"}
console = Console()


class Watch:
    """How long each step took."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, float]] = []

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step."""
        began = time.monotonic()
        yield
        self.steps.append((name, time.monotonic() - began))


def adsml(*arguments: str, env: Mapping[str, str]) -> None:
    """Run a command as a person would."""
    console.print(f"\n[bold cyan]$ adsml {' '.join(arguments)}[/]", highlight=False, soft_wrap=True)
    subprocess.run([sys.executable, "-m", "adsml_common.cli", *arguments], env=dict(env), check=True)


def read_account(env: Mapping[str, str]) -> Account:
    """What the questions are about, from the store."""
    database = Database.open(env["ADSML_DATABASE_URL"])
    try:
        entities = EntityStore(database).list(CONFIG_ID)
        daily = MetricStore(database).daily(CONFIG_ID)
        events = ChangeStore(database).list(CONFIG_ID)
    finally:
        database.close()
    last = daily["date"].max()
    recent = daily[daily["date"] > last - pd.Timedelta(days=28)]
    spent = {
        EntityRef(CONFIG_ID, EntityType(level), entity_id): float(total)
        for (level, entity_id), total in recent.groupby(["entity_type", "entity_id"])["spend"].sum().items()
    }
    ads = daily[(daily["entity_type"] == "ad") & (daily["date"] == last)]["entity_id"]
    days = daily[daily["entity_type"] == "ad"].groupby("entity_id").size()
    complete = last.date() - dt.timedelta(days=AFTER_DAYS)
    refs = [one.ref for one in entities]
    return Account(
        config_id=CONFIG_ID,
        names={one.ref: one.name or "" for one in entities},
        campaigns=ranked([one for one in refs if one.entity_type is EntityType.CAMPAIGN], spent),
        adsets=ranked([one for one in refs if one.entity_type is EntityType.ADSET], spent),
        newest=EntityRef(CONFIG_ID, EntityType.AD, str(days[days.index.isin(ads)].idxmin())),
        changes=[
            Change(
                event.entity,
                change_event(
                    event.date,
                    event.change_type.value,
                    value_before=_amount(event.detail.get("budget_before")),
                    value_after=_amount(event.detail.get("budget_after")),
                ),
            )
            for event in events
            if event.entity.entity_type is EntityType.ADSET and event.date <= complete
        ],
        last_day=last.date(),
    )


def _amount(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def ask(env: Mapping[str, str], calls: Calls) -> None:
    """Every question, each to its service."""
    account, out = read_account(env), Printer(console)
    about = {
        "classifier": questions.tiers, "forecasting": questions.forecasts, "anomaly": questions.alarms,
        "impact": questions.changes,
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        connections = {
            name: CountedConnection(stack.enter_context(connect(f"127.0.0.1:{PORTS[name]}")), calls)
            for name in family.installed()
        }
        for name, connection in connections.items():
            about[name](account, connection, out)
        out.head("Which models answered, and how are new ones made?")
        for name, connection in connections.items():
            questions.models(connection, name, CONFIG_ID, out)
        for name, connection in connections.items():
            if name in JOBS:
                questions.training(connection, name, JOBS[name], CONFIG_ID, out)


def summary(watch: Watch, calls: Calls) -> None:
    """Calls and times."""
    missed = calls.never_called()
    if missed:
        raise SystemExit(f"never called: {', '.join(missed)}")
    count = sum(map(len, calls.seconds.values()))
    console.print(f"\nall {len(calls.seconds)} methods of the contracts were called, {count} calls in all")
    table = Table("step", "seconds", title="how long it took", title_justify="left")
    for name, seconds in (*watch.steps, ("everything", sum(seconds for _, seconds in watch.steps))):
        table.add_row(name, f"{seconds:.0f}")
    console.print(table)


def advise() -> None:
    """What to do next."""
    report = (DATA / "report.html").relative_to(ROOT)
    console.print("\n[bold]What to try next[/]")
    for text in (
        f"open {report} in a browser: what to do today, with the pictures and figures behind it",
        "make up                   the four services on this data, in the background; make down stops them",
        "adsml classify --help     every command has an example",
        "docs/tutorial.md          the same with your own export",
    ):
        console.print(f"  {text}", highlight=False)


def main() -> None:
    """Run the demo."""
    watch, calls = Watch(), Calls()
    shutil.rmtree(DATA, ignore_errors=True)
    # A demo stands alone: it must not write into a database that the environment happens to name.
    env = {**os.environ, **environment(inherit=False)}
    export, config = DATA / "export", ("--config-id", str(CONFIG_ID))
    shown = export.relative_to(ROOT)
    os.chdir(ROOT)
    with watch.step("simulate and import"):
        adsml("simulate", str(shown), "--seed", str(SEED), "--anomalies", "0.5", env=env)
        adsml("import", str(shown / "insights"), *config, env=env)
        adsml("changes", "import", str(shown / "changes.csv"), *config, env=env)
    for job in sorted(entry_points(group="adsml.commands.train").names):
        with watch.step(f"train {job}"):
            adsml("train", job, *config, env=env)
    with watch.step("scan for anomalies"):
        adsml("scan-anomalies", *config, env=env)
    with watch.step("doctor"):
        adsml("doctor", env=env)
    console.print("\n[bold cyan]starting the services and asking over gRPC[/]")
    with contextlib.ExitStack() as stack:
        with watch.step("start the services"):
            stack.enter_context(running(DATA / "services.log", env))
        with watch.step("ask every method"):
            ask(env, calls)
    with watch.step("report"):
        adsml(
            "report",
            *config,
            "--output",
            str((DATA / "report.html").relative_to(ROOT)),
            "--most",
            "8",
            env=env,
        )
    summary(watch, calls)
    advise()


if __name__ == "__main__":
    main()

"""From an export to answers: simulates an account, imports it, trains, serves, and asks over gRPC.

``make demo`` runs it. Everything it makes lies in the folder ``demo-data`` of this checkout.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from adsml_client import EntityRef, connect
from adsml_client.classifier import Classification, ClassifierClient
from adsml_common.cli import family
from rich.console import Console

from services import DATA, PORTS, environment, running

CONFIG_ID = 1
SEED = 3
console = Console()


def adsml(*arguments: str, env: Mapping[str, str]) -> None:
    """Run a command as a person would."""
    console.print(f"\n[bold cyan]$ adsml {' '.join(arguments)}[/]", highlight=False)
    subprocess.run([sys.executable, "-m", "adsml_common.cli", *arguments], env=dict(env), check=True)


def ids(entity_type: str, env: Mapping[str, str]) -> list[str]:
    """Every entity of a level, as `adsml classify --json` lists them."""
    ran = subprocess.run(
        [sys.executable, "-m", "adsml_common.cli", "classify", "--config-id", str(CONFIG_ID),
         "--entity-type", entity_type, "--rules-only", "--json"],
        env=dict(env), check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [one["entity_id"] for one in json.loads(ran.stdout)["results"]]


def ask_classifier(adsets: list[str]) -> None:
    """The best and the worst ad sets, and why."""
    with connect(f"127.0.0.1:{PORTS['classifier']}") as connection:
        answers = ClassifierClient(connection).classify_entities(
            [EntityRef(CONFIG_ID, "adset", one) for one in adsets], max_contributions=2
        )
    told = [one for one in answers.results if isinstance(one, Classification)]
    order = ("high_performer", "moderate", "low", "underperformer")
    told.sort(key=lambda one: (order.index(one.tier), -(one.confidence or 0)))
    console.print("\n[bold]The next 7 days: best and worst ad sets[/]")
    for one in (*told[:3], *told[-3:]):
        cpl = one.metrics.get("cpl")
        name = one.entity.entity_id if one.entity else ""
        sure = "" if one.confidence is None else f", {one.confidence:.0%} sure"
        cost = "no leads" if cpl is None else f"CPL {cpl:.2f}"
        console.print(
            f"  [bold]{name}[/]: {one.tier.replace('_', ' ')}{sure}; {cost} in the last 7 days",
            highlight=False,
        )
        for reason in one.contributions:
            console.print(f"      {reason.explanation}", highlight=False)
    model = told[0].answered_by.model if told else None
    if model is not None:
        console.print(f"answered over gRPC by {model.name} version {model.version}", highlight=False)


def main() -> None:
    """Run the demo."""
    began = time.monotonic()
    shutil.rmtree(DATA, ignore_errors=True)
    env = environment()
    export = DATA / "export"
    adsml("simulate", str(export), "--seed", str(SEED), "--anomalies", "0.5", env=env)
    adsml("import", str(export / "insights"), "--config-id", str(CONFIG_ID), env=env)
    for one in family.installed().values():
        for job in one.train:
            adsml("train", job, "--config-id", str(CONFIG_ID), env=env)
    adsml("models", "list", "--status", "ACTIVE", "--limit", "10", env=env)
    adsml("doctor", env=env)
    console.print("\n[bold cyan]starting the services and asking over gRPC[/]")
    adsets = ids("adset", env)
    with running(DATA / "services.log", env):
        ask_classifier(adsets)
    console.print(f"\ndone in {time.monotonic() - began:.0f} s. Next, on your own export:")
    console.print(f"  export ADSML_DATABASE_URL=sqlite:///{Path('mine.db')}", highlight=False)
    console.print("  .venv/bin/adsml import YOUR_EXPORT.csv --config-id 7", highlight=False)
    console.print("  .venv/bin/adsml train classifiers --config-id 7", highlight=False)
    console.print("  .venv/bin/adsml classify --config-id 7", highlight=False)


if __name__ == "__main__":
    main()

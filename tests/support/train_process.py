"""A training job in a process of its own: ``python train_process.py JOB --request-id ...``.

Trains two items of every account of the recorded scope and registers nothing.
"""

import argparse
import os

from adsml_common.database import Database
from adsml_common.training.job import run_job
from adsml_common.training.records import Item, ItemResult, ItemStatus
from adsml_common.training.runs import TrainingRuns
from adsml_common.training.scope import Scope, scope_of


def train_one(item: Item) -> ItemResult:
    if item.key.endswith("/bad"):
        return ItemResult(ItemStatus.FAILED, reason="the rows make no sense", bad_data=True)
    return ItemResult(ItemStatus.SKIPPED, reason="3 days of history, 14 are needed")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("job")
    parser.add_argument("--request-id", required=True)
    parser.add_argument("--shard-index", type=int, required=True)
    parser.add_argument("--shard-count", type=int, required=True)
    given = parser.parse_args()
    runs = TrainingRuns(Database.open(os.environ["ADSML_DATABASE_URL"]))
    scope, parameters = scope_of(runs, given.job, given.request_id, given=Scope())
    items = [
        Item(f"{config_id}/{name}", config_id) for config_id in scope.config_ids for name in ("good", "bad")
    ]
    run = run_job(
        given.job,
        items,
        train_one,
        runs=runs,
        request_id=given.request_id,
        parameters=parameters,
        shard_index=given.shard_index,
        shard_count=given.shard_count,
    )
    return run.exit_status or 0


if __name__ == "__main__":
    raise SystemExit(main())

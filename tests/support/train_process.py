"""A training job in a process of its own, as `adsml train JOB` is: ``python train_process.py JOB``.

Trains two items of every account of the run and registers nothing.
"""

import sys
from collections.abc import Sequence

from adsml_common.cli.training import Job, train
from adsml_common.database import Database
from adsml_common.training.attempt import TrainOne
from adsml_common.training.context import TrainingContext
from adsml_common.training.records import Item, ItemResult, ItemStatus


def train_one(item: Item) -> ItemResult:
    if item.key.endswith("/bad"):
        return ItemResult(ItemStatus.FAILED, reason="the rows make no sense", bad_data=True)
    return ItemResult(ItemStatus.SKIPPED, reason="3 days of history, 14 are needed")


def trainer(_context: TrainingContext) -> TrainOne:
    return train_one


def items(_database: Database, config_ids: Sequence[int]) -> list[Item]:
    return [Item(f"{config_id}/{name}", config_id) for config_id in config_ids for name in ("good", "bad")]


if __name__ == "__main__":
    train(
        Job(sys.argv[1], items, trainer), config_id="all", request_id=None, shard_index=0, shard_count=1,
        workers=None, item_seconds=60.0, json_output=False,
    )  # fmt: skip

"""A server that is killed -9 once a run is on record, before its launch: ``python killed_starting.py PORT FOLDER``."""

import os
import signal
import sys
from pathlib import Path

from adsml_common.database import Database
from adsml_common.serving.server import ServerBuilder
from adsml_common.serving.settings import ServingSettings
from adsml_common.serving.training_service import SERVICE, TrainingService
from adsml_common.settings import load_settings
from adsml_common.training.launchers import LocalLauncher
from adsml_common.training.records import TrainingRun
from adsml_common.training.runs import TrainingRuns


class KilledLauncher(LocalLauncher):
    def launch(self, run: TrainingRun) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    runs = TrainingRuns(Database.open(load_settings(ServingSettings).database_url))
    launcher = KilledLauncher(runs, log_dir=Path(sys.argv[2]))
    service = TrainingService(runs, family="classifier", jobs=["classifiers"], launcher=launcher)
    builder = ServerBuilder(ServingSettings(port=int(sys.argv[1])))
    builder.add(service, SERVICE)
    raise SystemExit(builder.run())

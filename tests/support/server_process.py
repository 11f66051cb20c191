"""A real server in a process of its own: ``python server_process.py``, settings from the environment.

Every call takes ADSML_TEST_WORK_SECONDS of waiting and answers with the process' number.
"""

import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from adsml.registry.v1 import registry_service_pb2 as pb
from adsml_common.serving.server import ServerBuilder
from adsml_common.serving.settings import ServingSettings
from adsml_common.settings import load_settings

from support.serving import REGISTRY, registry_service

WORK_SECONDS = float(os.environ.get("ADSML_TEST_WORK_SECONDS", "0.02"))


def list_models(request, context):
    threading.Event().wait(WORK_SECONDS)
    return pb.ListModelsResponse(next_page_token=str(os.getpid()))


def main() -> int:
    closed = os.environ.get("ADSML_TEST_CLOSED")
    builder = ServerBuilder(load_settings(ServingSettings)).add(
        registry_service({"ListModels": list_models}),
        REGISTRY,
    )
    if closed:
        builder.on_drain(lambda: Path(closed).write_text("closed"))
    return builder.run()


if __name__ == "__main__":
    raise SystemExit(main())

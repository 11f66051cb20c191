"""Servers that answer with an empty message: what the stack itself costs.

    python serving_empty.py bare|harness PORT

``bare`` is grpc.aio with one coroutine that parses the request and serialises the answer. ``harness`` is our server
with a handler that does nothing.
"""

import asyncio
import signal
import sys

import grpc
import grpc.aio
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml_common.serving.context import CallContext
from adsml_common.serving.server import ServerBuilder
from adsml_common.serving.settings import ServingSettings

SERVICE = "adsml.classifier.v1.ClassifierService"


class Empty:
    """Does nothing, four times."""

    def Classify(self, request: pb.ClassifyRequest, context: CallContext) -> pb.ClassifyResponse:
        """Nothing."""
        return pb.ClassifyResponse()

    def BatchClassify(
        self, request: pb.BatchClassifyRequest, context: CallContext
    ) -> pb.BatchClassifyResponse:
        """Nothing."""
        return pb.BatchClassifyResponse()

    def ClassifyNewEntity(
        self, request: pb.ClassifyNewEntityRequest, context: CallContext
    ) -> pb.ClassifyNewEntityResponse:
        """Nothing."""
        return pb.ClassifyNewEntityResponse()

    def RecordFeedback(
        self, request: pb.RecordFeedbackRequest, context: CallContext
    ) -> pb.RecordFeedbackResponse:
        """Nothing."""
        return pb.RecordFeedbackResponse()


async def bare(port: int) -> None:
    """Serve until SIGTERM."""

    async def empty(request: pb.BatchClassifyRequest, context: object) -> pb.BatchClassifyResponse:
        return pb.BatchClassifyResponse()

    handler = grpc.unary_unary_rpc_method_handler(
        empty, pb.BatchClassifyRequest.FromString, pb.BatchClassifyResponse.SerializeToString
    )
    server = grpc.aio.server()
    server.add_registered_method_handlers(SERVICE, {"BatchClassify": handler})
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(None)


def main() -> int:
    """Serve."""
    kind, port = sys.argv[1], int(sys.argv[2])
    if kind == "bare":
        asyncio.run(bare(port))
        return 0
    builder = ServerBuilder(ServingSettings(port=port, drain_wait_seconds=0, log_level="WARNING"))
    builder.add(Empty(), SERVICE)
    return builder.run()


if __name__ == "__main__":
    sys.exit(main())

"""Many times more calls than a server can answer; `make bench-overload` measures what comes through."""

import threading
from collections import Counter

import grpc
from adsml.registry.v1 import registry_service_pb2 as pb
from google.rpc import error_details_pb2
from support.serving import SECONDS, builder, eventually, refusal, running

WORKERS, QUEUE, OFFERED = 2, 8, 200


def test_overload_is_shed_with_a_word_on_when_to_come_back_and_passes_without_a_trace():
    work = threading.Semaphore(0)

    def list_models(request, context):
        work.acquire(timeout=SECONDS)
        return pb.ListModelsResponse()

    built = builder({"ListModels": list_models}, workers=WORKERS, queue_size=QUEUE, queue_seconds=60)
    with running(built) as service:
        pool = service.server.runtime.pool
        for _ in range(3):
            calls = [
                service.registry.ListModels.future(pb.ListModelsRequest(family=1), timeout=SECONDS)
                for _ in range(OFFERED)
            ]
            # Exactly what runs and what may wait is taken; everything else is told at once, nobody hangs.
            eventually(lambda calls=calls: sum(call.done() for call in calls) == OFFERED - WORKERS - QUEUE)
            for name in ("", "liveness", "readiness"):
                assert service.health(name) == "SERVING"
            for _ in range(WORKERS + QUEUE):
                work.release()
            eventually(lambda calls=calls: all(call.done() for call in calls))
            codes = Counter(call.code() for call in calls)
            assert codes == {
                grpc.StatusCode.OK: WORKERS + QUEUE,
                grpc.StatusCode.RESOURCE_EXHAUSTED: OFFERED - WORKERS - QUEUE,
            }
            shed = next(call for call in calls if call.code() is not grpc.StatusCode.OK)
            told = refusal(shed.result).detail(error_details_pb2.RetryInfo).retry_delay
            assert told.seconds + told.nanos > 0
            assert (pool.waiting, pool.busy) == (0, 0)
        work.release()
        service.registry.ListModels(pb.ListModelsRequest(family=1), timeout=SECONDS)

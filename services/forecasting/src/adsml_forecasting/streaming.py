"""A backtest as a stream: progress while a thread works, then the report."""

import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Final

from adsml.common.v1 import entity_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as pb
from adsml_common.domain.errors import Unavailable
from adsml_common.domain.metrics import Metric
from adsml_common.serving.context import CallContext

from adsml_forecasting import encoding
from adsml_forecasting.models.backtest import BacktestSpec, Report, backtest
from adsml_forecasting.models.series import DailySeries

_POLL_SECONDS: Final = 0.2


def stream_backtest(
    series: Sequence[tuple[DailySeries, ...]],
    metric: Metric,
    spec: BacktestSpec,
    *,
    pool: ProcessPoolExecutor | None,
    skipped: Sequence[tuple[entity_pb2.EntityRef, str]],
    context: CallContext,
) -> Iterator[pb.BacktestResponse]:
    """Work in a thread, so that a caller who goes stops the work."""
    events: queue.Queue[tuple[int, int] | Report | BaseException] = queue.Queue()

    def tell(done: int, total: int) -> None:
        context.check_cancelled()
        events.put((done, total))

    def work() -> None:
        try:
            events.put(backtest(series, metric, spec, pool=pool, progress=tell))
        except BrokenProcessPool:
            events.put(Unavailable("a worker process died; try again"))
        except BaseException as error:
            events.put(error)

    threading.Thread(target=work, name="backtest", daemon=True).start()
    while True:
        try:
            event = events.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            context.check_cancelled()
            continue
        if isinstance(event, BaseException):
            raise event
        if isinstance(event, Report):
            yield pb.BacktestResponse(report=encoding.report_message(event, skipped=skipped))
            return
        done, total = event
        yield pb.BacktestResponse(
            progress=pb.BacktestProgress(done=done, total=total, message=f"{done} of {total} fits done")
        )

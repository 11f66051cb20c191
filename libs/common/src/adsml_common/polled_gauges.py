"""Gauges of what the database holds, for Prometheus."""

import logging
import threading
from collections.abc import Callable, Iterable

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from adsml_common.domain.errors import AdsmlError

_LOG = logging.getLogger(__name__)


class PolledGauges(Collector):
    """Gauges that `read` gives now and then.

    Never read when Prometheus asks: a database that is away would take the other metrics along.
    """

    def __init__(self, read: Callable[[], Iterable[GaugeMetricFamily]], *, every_seconds: float) -> None:
        self._read = read
        self._every = every_seconds
        self._gauges: list[GaugeMetricFamily] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="gauges", daemon=True)

    def start(self) -> None:
        """Begin to read, and to tell."""
        REGISTRY.register(self)
        self._thread.start()

    def close(self) -> None:
        """Stop; one that never began has nothing to stop."""
        if self._thread.ident is not None:
            REGISTRY.unregister(self)
            self._ended.set()
            self._thread.join()

    def collect(self) -> list[GaugeMetricFamily]:
        """The gauges, as of the last reading."""
        return self._gauges

    def describe(self) -> tuple[()]:
        """Nothing beforehand: it depends on what is stored."""
        return ()

    def _poll(self) -> None:
        while not self._ended.is_set():
            try:
                self._gauges = list(self._read())
            except AdsmlError as error:
                _LOG.warning("what gauges tell can't be read: %s", error.message)
            self._ended.wait(self._every)

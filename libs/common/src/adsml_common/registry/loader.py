"""Models in memory: loaded once, swapped when a new version is activated, served on when stores are down.

And which of several answers: the nearest, with what has to be said where one is missing.
"""

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import KW_ONLY, dataclass, replace
from typing import Final, Generic, TypeVar

from cachetools import LRUCache

from adsml_common.collecting import collector_paused
from adsml_common.domain.degradation import Degradation, DegradationReason, Dependency
from adsml_common.domain.errors import AdsmlError, ArtifactCorrupt, Unavailable
from adsml_common.registry.bundle import Bundle
from adsml_common.registry.models import ModelVersion
from adsml_common.registry.registry import ModelRegistry

T = TypeVar("T")
EVENTS: Final = ("hits", "loads", "swaps", "evictions", "failures", "fallbacks")
"""What is counted: answers from memory; versions loaded, of them in place of another (swaps); models dropped for room;
loads that ended in an error, and with an earlier version because the active one is broken."""
_FALLBACKS: Final = 3
_MISSES: Final = 10_000
_RETRY_SECONDS: Final = 5.0
_STALE_POLLS: Final = 3
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A model ready for use: what the family's parser made of it, and its version.

    `degradations` are what an answer made with it has to say: that it is not the version that should serve, or that
    nobody could be asked which one that is.
    """

    model: T
    version: ModelVersion
    degradations: tuple[Degradation, ...] = ()


@dataclass(slots=True)
class _Entry(Generic[T]):
    # What is known of a name: a model, that there is none, or the error that met the last try.
    loaded: Loaded[T] | None
    error: AdsmlError | None
    checked_at: float


@dataclass(eq=False, repr=False)
class ModelLoader(Generic[T]):
    """Gives models by name; threads share it.

    The first call for a name loads it, through disk cache, registry and artifact store; others that ask for it
    meanwhile wait for the same load. Later calls are answered from memory. A new version is loaded beside the old one
    and swapped in when it is ready. If the active version can't be loaded, the one that was active before serves and
    says so; if registry or artifacts can't be reached, what is in memory serves and says so.

    `parse` makes a model of a bundle, or raises `ArtifactCorrupt`; it may warm the model up. `poll_seconds` is how
    old the knowledge of which version is active may get. Of the `capacity` models the one unused for longest makes
    room. `vetted` parses a bundle in a process of its own first: for native parsers, which wrong bytes can bring
    down.
    """

    registry: ModelRegistry
    parse: Callable[[ModelVersion, Bundle], T]
    _: KW_ONLY
    poll_seconds: float
    capacity: int
    vetted: bool = False
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.poll_seconds <= 0:
            raise ValueError("capacity must be at least 1 and poll_seconds above 0")
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        # Names without a model, apart, so that asking for many of them pushes no model out.
        self._misses: LRUCache[str, _Entry[T]] = LRUCache(_MISSES)
        self._loading: dict[str, threading.Event] = {}
        self._counts: Counter[str] = Counter()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def get(self, name: str) -> Loaded[T] | None:
        """The model that serves under a name, None if there is none.

        Raises `ArtifactCorrupt` where neither the active version nor an earlier one can be loaded, `Unavailable`
        where it is not in memory and registry or artifact store do not answer.
        """
        while True:
            with self._lock:
                entry = self._entries.get(name) or self._misses.get(name)
                if entry is not None and not self._due(entry):
                    if entry.loaded is not None:
                        self._entries.move_to_end(name)
                    self._counts["hits"] += 1
                    return self._answer(entry)
                others = self._loading.get(name)
                if others is None:
                    self._loading[name] = threading.Event()
                elif entry is not None and entry.loaded is not None:
                    # Somebody looks for news already; what is there is good meanwhile.
                    return self._answer(entry)
            if others is None:
                with self._finishing(name):
                    return self._answer(self._renew(name, entry))
            others.wait()

    def peek(self, name: str) -> Loaded[T] | None:
        """What `get` would give without asking anybody; None also where it would ask, or raise."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry.loaded is None or self._due(entry):
                return None
            self._entries.move_to_end(name)
            self._counts["hits"] += 1
            return entry.loaded

    def prefetch(self, names: Iterable[str]) -> None:
        """Load what is not known yet or is due, asking the registry once; what can't be loaded is told by `get`."""
        with self._lock:
            wanted = {
                name: entry
                for name in dict.fromkeys(names)
                if (entry := self._entries.get(name) or self._misses.get(name)) is None or self._due(entry)
            }
        with collector_paused():
            self._renew_all(wanted)

    def refresh(self) -> None:
        """Ask which versions are active for everything in memory, and load what is new.

        Where a store does not answer what is in memory serves on, and says so.
        """
        with self._lock:
            known = dict(self._entries)
            # That a name has no model, or can't be loaded, is forgotten: the next call asks again.
            self._misses.clear()
        self._renew_all(known)

    def start(self) -> None:
        """Refresh in the background from now on, every `poll_seconds`."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._poll, name="model-loader", daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def stats(self) -> dict[str, int]:
        """Counts since the start, for metrics, of every one of `EVENTS`."""
        with self._lock:
            return {event: self._counts[event] for event in EVENTS}

    def in_memory(self) -> list[Loaded[T]]:
        """Everything that is loaded, the one unused for longest first."""
        with self._lock:
            return [entry.loaded for entry in self._entries.values() if entry.loaded is not None]

    # -- inside ----------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        while not self._stop.wait(self.poll_seconds):
            try:
                self.refresh()
            except Exception:
                # The thread must outlive anything a parser may do.
                _LOG.exception("refreshing models failed; what is in memory serves on")

    def _due(self, entry: _Entry[T]) -> bool:
        age = self.clock() - entry.checked_at
        # With a thread that refreshes, no caller has to wait for a registry unless that thread is stuck.
        if entry.loaded is not None and self._thread is not None:
            return age >= _STALE_POLLS * self.poll_seconds
        if isinstance(entry.error, Unavailable):
            return age >= min(self.poll_seconds, _RETRY_SECONDS)
        return age >= self.poll_seconds

    @contextmanager
    def _finishing(self, name: str) -> Iterator[None]:
        """Load a name that is noted as being loaded; whoever waits for it goes on afterwards."""
        try:
            yield
        finally:
            with self._lock:
                self._loading.pop(name).set()

    def _renew_all(self, known: Mapping[str, _Entry[T] | None]) -> None:
        if not known:
            return
        try:
            active = self.registry.active_of(known)
        except Unavailable as error:
            for name, entry in known.items():
                if entry is not None and entry.loaded is not None:
                    self._store(name, self._stale(entry, error))
            return
        if self.vetted:
            have = {one.loaded.version.sha256 for one in known.values() if one and one.loaded}
            self.registry.vet_ahead((one for one in active.values() if one.sha256 not in have), self.parse)
        for name, entry in known.items():
            with self._lock:
                if name in self._loading:  # another thread is at it
                    continue
                self._loading[name] = threading.Event()
            with self._finishing(name):
                self._store(name, self._load(name, entry, active.get(name)))

    @staticmethod
    def _answer(entry: _Entry[T]) -> Loaded[T] | None:
        if entry.loaded is None and entry.error is not None:
            # Kept and raised many times: each time without the trace of the last.
            raise entry.error.with_traceback(None)
        return entry.loaded

    def _renew(self, name: str, entry: _Entry[T] | None) -> _Entry[T]:
        try:
            active = self.registry.active(name)
        except Unavailable as error:
            if entry is None or entry.loaded is None:
                renewed = self._last_known(name, error)
            else:
                renewed = self._stale(entry, error)
        else:
            renewed = self._load(name, entry, active)
        self._store(name, renewed)
        return renewed

    def _store(self, name: str, entry: _Entry[T]) -> None:
        with self._lock:
            self._entries.pop(name, None)
            self._misses.pop(name, None)
            if entry.loaded is None:
                self._misses[name] = entry
                return
            self._entries[name] = entry
            while len(self._entries) > self.capacity:
                self._entries.popitem(last=False)
                self._counts["evictions"] += 1

    def _stale(self, entry: _Entry[T], error: AdsmlError) -> _Entry[T]:
        self._count(failures=1)
        if entry.loaded is None:
            return _Entry(None, error, self.clock())
        version = entry.loaded.version
        told = Degradation(
            Dependency.REGISTRY,
            DegradationReason.STALE,
            f"the registry does not answer ({error.message}); {version}, last known to be active, was used",
        )
        kept = [one for one in entry.loaded.degradations if one.dependency != told.dependency]
        return _Entry(replace(entry.loaded, degradations=(*kept, told)), error, self.clock())

    def _last_known(self, name: str, error: Unavailable) -> _Entry[T]:
        # Started while the database is away: what was active when this machine last heard of it is better
        # than nothing, if its files are still in the disk cache or the artifact store answers.
        known = self.registry.last_known.get(name)
        try:
            loaded = None if known is None else Loaded(self._read(known), known)
        except (ArtifactCorrupt, Unavailable):
            loaded = None
        return self._stale(_Entry(loaded, None, self.clock()), error)

    def _load(self, name: str, entry: _Entry[T] | None, active: ModelVersion | None) -> _Entry[T]:
        if active is None:
            self.registry.last_known.forget(name)
            return _Entry(None, None, self.clock())
        present = entry.loaded if entry is not None else None
        if present is not None and present.version.sha256 == active.sha256:
            return _Entry(Loaded(present.model, active), None, self.clock())
        try:
            loaded = Loaded(self._read(active), active)
        except (ArtifactCorrupt, Unavailable) as error:
            self._count(failures=1)
            return self._instead(name, present, active, error)
        self._count(swaps=1 if present is not None else 0)
        self.registry.last_known.remember(active)
        return _Entry(loaded, None, self.clock())

    def _instead(
        self, name: str, present: Loaded[T] | None, active: ModelVersion, error: ArtifactCorrupt | Unavailable
    ) -> _Entry[T]:
        """What serves for an active version that can't be loaded: an earlier one, or what is in memory."""
        found, lasting = present, error
        corrupt = isinstance(error, ArtifactCorrupt)
        if corrupt:
            try:
                # What is in memory comes last: it may be the one that was rolled back from.
                found = self._earlier(name, present) or present
            except Unavailable as gone:
                lasting = gone
        if found is None:
            return _Entry(None, lasting, self.clock())
        reason, text = DegradationReason.CORRUPT, f"{error.message}; {found.version} was used instead"
        if corrupt:
            self._count(fallbacks=1)
        else:
            reason = DegradationReason.UNAVAILABLE
            text = f"it can't be fetched ({error.message}); {found.version} from memory was used"
        told = Degradation(Dependency.MODEL, reason, text, name=str(active))
        loaded = Loaded(found.model, found.version, (told,))
        return _Entry(loaded, None if corrupt else error, self.clock())

    def _earlier(self, name: str, present: Loaded[T] | None) -> Loaded[T] | None:
        for version in self.registry.earlier(name, limit=_FALLBACKS):
            if present is not None and present.version.sha256 == version.sha256:
                return present
            with suppress(ArtifactCorrupt):
                return Loaded(self._read(version), version)
        return None

    def _read(self, version: ModelVersion) -> T:
        try:
            bundle = self.registry.read(version, parse=self.parse if self.vetted else None)
            model = self.parse(version, bundle)
        except Unavailable:
            raise
        except ArtifactCorrupt as error:
            _LOG.error("%s", error.message)
            raise
        # Whatever a library raises on bytes it can't make sense of means the same here.
        except Exception as error:
            _LOG.exception("parsing %s failed", version)
            raise ArtifactCorrupt(f"{version} can't be parsed ({type(error).__name__})") from error
        self._count(loads=1)
        return model

    def _count(self, **by: int) -> None:
        with self._lock:
            self._counts.update(by)


@dataclass(frozen=True, slots=True)
class ResolvedModel(Generic[T]):
    """The model that answers, None where there is none, and what an answer with or without it has to say."""

    loaded: Loaded[T] | None
    degradations: tuple[Degradation, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelResolver(Generic[T]):
    """Resolves names to models; threads share it. Without a loader there is no registry, and nothing is said.

    `instead` says what answers where no model does, as the end of a sentence: ``"the rule was used instead"``.
    """

    loader: ModelLoader[T] | None
    _: KW_ONLY
    instead: str

    def resolve(self, names: Sequence[str], *, expected: bool = True) -> ResolvedModel[T]:
        """The first of these names, nearest first, that has a usable model.

        A model that is registered and can't be used is told of always; that none is registered where one is
        `expected`.
        """
        if self.loader is None or not names:
            return ResolvedModel(None)
        notes: list[Degradation] = []
        for name in names:
            try:
                loaded = self.loader.get(name)
            except ArtifactCorrupt as error:
                notes.append(self._note(name, DegradationReason.CORRUPT, error.message))
                continue
            except Unavailable as error:
                # The others are in the same registry.
                notes.append(self._note(name, DegradationReason.UNAVAILABLE, error.message))
                break
            if loaded is not None:
                return ResolvedModel(loaded, (*notes, *loaded.degradations))
        if expected and not notes:
            notes.append(self._note(names[0], DegradationReason.NO_MODEL, "none is registered and active"))
        return ResolvedModel(None, tuple(notes))

    def _note(self, name: str, reason: DegradationReason, detail: str) -> Degradation:
        return Degradation(Dependency.MODEL, reason, f"model {name}: {detail}; {self.instead}", name=name)

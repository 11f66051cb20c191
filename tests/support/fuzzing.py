"""Messages that no friend would send, made from the contracts, and what must never come back."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import grpc
import numpy as np
from adsml_common.serving.field_collector import FieldCollector
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

ALLOWED = {
    "OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "UNAVAILABLE",
    "DEADLINE_EXCEEDED", "PERMISSION_DENIED", "UNAUTHENTICATED", "ALREADY_EXISTS", "ABORTED",
}  # fmt: skip
LEAK = re.compile(
    r"Traceback|File \"|\.py\b|site-packages|sqlalchemy|psycopg|sqlite|numpy|pandas|xgboost|numba"
    # An address; not an "x" that was put into the digits of a caller's own name.
    r"|(?<![0-9A-Za-z])0x[0-9a-f]{6}"
    r"|<class|object at|[a-z]Error\b|Exception|SELECT |INSERT |NoneType|dtype",
)

_STRINGS = (
    "", " ", "a", "0", "null", "x" * 64, "x" * 65, "x" * 300, "x" * 3_000, "\x00", "a\nb", "é" * 40, "\U0001f600",
    "../../etc/passwd", "'; DROP TABLE entities; --", "%s%n", "{0}", "${x}", "classifier/1", "1/2/3", "\u202e",
)  # fmt: skip
_DOUBLES = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    0.05,
    1e-300,
    5e-324,
    1e18,
    1e300,
    1.7e308,
    float("nan"),
    float("inf"),
    -float("inf"),
)
_SMALL = (0, 1, -1, 2, 3, 7, 14, 28, 90, 100, 365, 1000)
_EDGES = {
    FieldDescriptor.CPPTYPE_INT32: (2**31 - 1, -(2**31)),
    FieldDescriptor.CPPTYPE_INT64: (2**63 - 1, -(2**63), 2**53, 10**12),
    FieldDescriptor.CPPTYPE_UINT32: (2**32 - 1,),
    FieldDescriptor.CPPTYPE_UINT64: (2**64 - 1,),
}
_DEEPEST = 8


@dataclass
class World:
    """What exists on the server that is fuzzed, so that some messages get past the door.

    Attributes
    ----------
    config_id, entities
        An account, and numbers of levels with ids.
    last_day
        Its last stored day.
    names
        Other strings that mean something: models, runs.
    """

    config_id: int
    entities: Sequence[tuple[int, str]]
    last_day: date
    names: Sequence[str] = ()


class Maker:
    """Makes messages of any type; the same seed makes the same ones.

    Half of the values are plausible, so that what comes after validation is met too; the others are edges.
    """

    def __init__(self, world: World, *, seed: int) -> None:
        self.world = world
        self.rng = np.random.default_rng(seed)

    def message(self, kind: type[Message], *, wild: float | None = None, depth: int = 0) -> Message:
        """One message.

        Parameters
        ----------
        wild
            Share of values that are edges; drawn where not given.
        """
        wild = float(self.rng.choice([0.0, 0.03, 0.2, 0.7])) if wild is None else wild
        out = kind()
        name = kind.DESCRIPTOR.full_name
        if self._chance(1 - wild) and self._plausible(name, out):
            return out
        skipped = {
            one.name
            for oneof in kind.DESCRIPTOR.oneofs
            if len(oneof.fields) > 1
            for one in list(oneof.fields)
            if one.name != oneof.fields[self.rng.integers(len(oneof.fields))].name
        }
        for one in kind.DESCRIPTOR.fields:
            if one.name in skipped or self._chance(0.25 if wild < 0.5 else 0.4) or depth > _DEEPEST:
                continue
            self._set(out, one, wild, depth)
        return out

    def mutated(self, data: bytes) -> bytes:
        """Bytes with a few of them changed, cut or doubled."""
        out = bytearray(data)
        for _ in range(int(self.rng.integers(1, 4))):
            if not out:
                return bytes(self.rng.integers(0, 256, 3, dtype=np.uint8))
            at = int(self.rng.integers(len(out)))
            match int(self.rng.integers(4)):
                case 0:
                    out[at] ^= 1 << int(self.rng.integers(8))
                case 1:
                    del out[at:]
                case 2:
                    out[at:at] = out[at : at + 20]
                case _:
                    out[at] = int(self.rng.integers(256))
        return bytes(out)

    def _chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def _pick(self, values: Sequence[Any]) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def _set(self, out: Any, one: FieldDescriptor, wild: float, depth: int) -> None:
        if one.is_repeated:
            size = int(self._pick((0, 1, 2, 3, 30) if self._chance(wild) else (1, 1, 2)))
            if one.message_type is not None:
                made = message_factory.GetMessageClass(one.message_type)
                getattr(out, one.name).extend(
                    self.message(made, wild=wild, depth=depth + 1) for _ in range(size)
                )
            else:
                getattr(out, one.name).extend(self._value(one, wild) for _ in range(size))
        elif one.message_type is not None:
            made = message_factory.GetMessageClass(one.message_type)
            getattr(out, one.name).CopyFrom(self.message(made, wild=wild, depth=depth + 1))
        else:
            setattr(out, one.name, self._value(one, wild))

    def _value(self, one: FieldDescriptor, wild: float) -> Any:
        edge = self._chance(wild)
        if one.enum_type is not None:
            return int(
                self._pick([*(value.number for value in one.enum_type.values), *([99, -1] if edge else [])])
            )
        if one.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return self._chance(0.5)
        if one.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            if one.type == FieldDescriptor.TYPE_BYTES:
                return self._pick(_STRINGS).encode()
            known = [self.world.entities[0][1], *self.world.names, "fuzz"]
            return self._pick(_STRINGS if edge else known)
        if one.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
            return self._pick(_DOUBLES) if edge else float(self.rng.gamma(1.0, 10.0))
        if one.name in ("config_id", "config_ids") and not edge:
            return self.world.config_id
        whole = self._pick((*_SMALL, *_EDGES[one.cpp_type])) if edge else self._pick((1, 2, 3, 7, 14))
        unsigned = one.cpp_type in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)
        return abs(int(whole)) if unsigned else int(whole)

    def _plausible(self, name: str, out: Any) -> bool:
        """Fill in a message that a sane caller could send; False for a type without such a recipe."""
        match name:
            case "google.type.Date":
                self._day(out, self.world.last_day - timedelta(days=int(self.rng.integers(0, 40))))
            case "adsml.common.v1.EntityRef":
                out.config_id = self.world.config_id
                out.entity_type, out.entity_id = self._pick(self.world.entities)
            case "adsml.common.v1.InlineSeries":
                if self._chance(0.5):
                    out.config_id = self.world.config_id
                out.entity_type, out.entity_id = self._pick(self.world.entities)
                self._rows(out.rows)
                if self._chance(0.3):
                    self._rows(out.account_rows)
            case "adsml.anomaly.v1.PointSeries":
                for at in range(int(self._pick((10, 60, 200)))):
                    point = out.points.add(value=float(self.rng.normal()))
                    point.time.seconds = 1_700_000_000 + 3_600 * at
            case _:
                return False
        return True

    def _rows(self, rows: Any) -> None:
        days = int(self._pick((1, 2, 7, 14, 28, 60)))
        level = float(self._pick((0.0, 1.0, 100.0, 1e6)))
        for back in range(days):
            if self._chance(0.05):
                continue
            row = rows.add(
                spend=level * float(self.rng.gamma(2.0)),
                impressions=int(level * 100 * self.rng.random()),
                clicks=int(level * self.rng.random()),
                leads=float(self.rng.poisson(level / 20)) if level < 1e5 else 0.0,
            )
            self._day(row.date, self.world.last_day - timedelta(days=back))

    def _day(self, out: Any, value: date) -> None:
        out.year, out.month, out.day = value.year, value.month, value.day


@dataclass
class Report:
    """What came back.

    Attributes
    ----------
    calls
        How many were made.
    codes
        Answers by method and status; statuses of single entities of batches with a ``/`` before them.
    faults
        What must never come back, with the request that brought it: method, word, request.
    """

    calls: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[str, str, bytes]] = field(default_factory=list)


def _is_status(one: FieldDescriptor) -> bool:
    return one.message_type is not None and one.message_type.full_name == "google.rpc.Status"


class Fuzzer:
    """Sends such messages to every method of some services and judges the answers.

    Parameters
    ----------
    channel
        To the server.
    services
        Full names.
    maker
        Makes the messages.
    timeout
        Seconds for each call.
    """

    def __init__(
        self, channel: grpc.Channel, services: Sequence[str], maker: Maker, *, timeout: float = 20.0
    ) -> None:
        self._channel = channel
        self._maker = maker
        self._timeout = timeout
        self._methods = [
            method
            for service in services
            for method in descriptor_pool.Default().FindServiceByName(service).methods
        ]

    def run(self, calls: int, *, until: Callable[[], bool] = lambda: False) -> Report:
        """Make so many calls, method by method in turn."""
        report = Report()
        for number in range(calls):
            if until():
                break
            method = self._methods[number % len(self._methods)]
            kind = message_factory.GetMessageClass(method.input_type)
            data = self._maker.message(kind).SerializeToString()
            if number % 5 == 4:
                data = self._maker.mutated(data)
            report.calls += 1
            for word in self._call(method, data, report):
                report.faults.append((method.full_name, word, data))
        return report

    def _call(self, method: Any, data: bytes, report: Report) -> Iterator[str]:
        path = f"/{method.containing_service.full_name}/{method.name}"
        answers: list[bytes] = []
        try:
            if method.server_streaming:
                answers = list(self._channel.unary_stream(path)(data, timeout=self._timeout))
            else:
                answers = [self._channel.unary_unary(path)(data, timeout=self._timeout)]
            code = "OK"
        except grpc.RpcError as error:
            code = error.code().name
            report.codes[f"{method.name} {code}"] += 1
            if code not in ALLOWED:
                yield f"{code}: {error.details()}"
            metadata = dict(error.trailing_metadata() or ())
            status = status_pb2.Status.FromString(metadata.get("grpc-status-details-bin", b""))
            # A deadline may pass before the server has said anything.
            if code != "DEADLINE_EXCEEDED":
                yield from _judged(status, error.details() or "", has_details=True)
            return
        report.codes[f"{method.name} OK"] += 1
        response = message_factory.GetMessageClass(method.output_type)
        find = FieldCollector(response, _is_status)
        for raw in answers:
            answer = response.FromString(raw)
            for status in find(answer):
                if status.code == 0:
                    continue
                name = code_pb2.Code.Name(status.code)
                report.codes[f"{method.name} /{name}"] += 1
                if name not in ALLOWED:
                    yield f"in a batch, {name}: {status.message}"
                yield from _judged(status, status.message, has_details=True)


def _judged(status: status_pb2.Status, message: str, *, has_details: bool) -> Iterator[str]:
    info = error_details_pb2.ErrorInfo()
    if has_details and not any(one.Unpack(info) for one in status.details):
        yield f"no ErrorInfo: {message}"
    words = [message]
    bad = error_details_pb2.BadRequest()
    for one in status.details:
        if one.Unpack(bad):
            words += [violation.description for violation in bad.field_violations]
    for word in words:
        if LEAK.search(word):
            yield f"leaks: {word}"

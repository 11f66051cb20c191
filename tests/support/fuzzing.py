"""Messages that no friend would send, and what must never come back. Knows of a server what reflection tells, no more.

Nothing of the product is imported: what a service takes is read from its descriptors. Half of the messages are recorded
calls with a change that keeps them likely to be answered, so that what lies behind validation is met; the others have
one thing wrong, are random by the grammar of their descriptors, or are damaged bytes.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

RECORDED = Path(__file__).with_name("fuzz_calls.json")
NEVER = {"INTERNAL", "UNKNOWN", "DATA_LOSS"}
LEAK = re.compile(
    r"Traceback|File \"|\.py\b|site-packages|sqlalchemy|psycopg|sqlite|numpy|pandas|xgboost|numba"
    # An address; not an "x" that was put into the digits of a caller's own name.
    r"|(?<![0-9A-Za-z])0x[0-9a-f]{6}"
    r"|<class|object at|[a-z]Error\b|Exception|SELECT |INSERT |NoneType|dtype",
)
_STRINGS = (
    "", " ", "a", "0", "null", "x" * 65, "x" * 3_000, "\x00", "a\nb", "é" * 40, "\U0001f600", "../../etc/passwd",
    "'; DROP TABLE entities; --", "%s%n", "{0}", "${x}", "classifier/1", "1/2/3", "\u202e", "\u2028", "W10=",
)  # fmt: skip
_REALS = (0.0, -0.0, -1.0, 0.5, 1e-300, 5e-324, 1e18, 1.7e308, float("nan"), float("inf"), -float("inf"))
_WHOLE = (0, 1, -1, 2, 7, 28, 90, 365, 1000, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 2**53, 10**12)
_DEEPEST = 6
_LONG = 200
_SHARES = {"likely": 0.55, "one thing wrong": 0.25, "grammar": 0.12, "bytes": 0.08}


@dataclass
class Report:
    """What came back.

    Attributes
    ----------
    calls
        How many were made.
    codes
        Answers by method and status; statuses of single entries of batches with a ``/`` before them.
    likely
        Of calls that were likely to be answered: by method, how many ended with which status.
    faults
        What must never come back, with the request that brought it: method, word, request.
    """

    calls: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    likely: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[tuple[str, str, bytes]] = field(default_factory=list)


class Fuzzer:
    """Sends such messages to every method that a server tells of and judges the answers.

    Parameters
    ----------
    channel
        To the server.
    entities
        Level names (``"ADSET"``) with ids of some entities of account 1.
    last_day
        Their last stored day.
    seed
        The same one makes the same messages.
    timeout
        Seconds for each call.
    names
        What else the recorded calls name: ``$FAMILY``, ``$MODEL``, ``$JOB``.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        entities: Sequence[tuple[str, str]],
        last_day: date,
        *,
        seed: int,
        timeout: float = 20.0,
        names: Mapping[str, str],
    ) -> None:
        self._channel = channel
        self._entities = entities
        self._last_day = last_day
        self._timeout = timeout
        self._random = random.Random(seed)  # noqa: S311 - to be the same each time
        database = ProtoReflectionDescriptorDatabase(channel)
        self._pool = descriptor_pool.DescriptorPool(database)
        services = [name for name in database.get_services() if not name.startswith("grpc.")]
        recorded: Mapping[str, list[Any]] = json.loads(RECORDED.read_text())
        self._recorded = recorded
        self._names = {"RUN": "none", **names}
        self.methods = [
            method for name in sorted(services) for method in self._pool.FindServiceByName(name).methods
        ]

    def run(self, calls: int, *, until: Callable[[], bool] = lambda: False) -> Report:
        """Make so many calls, method by method in turn."""
        report = Report()
        for number in range(calls):
            if until():
                break
            method = self.methods[number % len(self.methods)]
            kind = self._random.choices(list(_SHARES), list(_SHARES.values()))[0]
            data = self.request(method, kind)
            report.calls += 1
            code = ""
            for word in self._call(method, data, report):
                if word.startswith("code "):
                    code = word.removeprefix("code ")
                else:
                    report.faults.append((method.full_name, word, data))
            if kind == "likely":
                report.likely.setdefault(method.full_name, Counter())[code] += 1
        return report

    def request(self, method: Any, kind: str) -> bytes:
        """The bytes of one request."""
        made = message_factory.GetMessageClass(method.input_type)
        if kind == "grammar":
            return self._grammar(made).SerializeToString()
        message = self._of_recorded(method, made)
        if kind == "likely":
            self._varied(message)
        if kind == "one thing wrong":
            self._spoiled(message)
        data = message.SerializeToString()
        return self._damaged(data) if kind == "bytes" else data

    # -- recorded calls --------------------------------------------------------------------------------------

    def _of_recorded(self, method: Any, made: type[Message]) -> Message:
        examples = self._recorded.get(method.full_name)
        if not examples:
            return self._grammar(made)
        return json_format.ParseDict(
            self._filled_in(self._random.choice(examples)), made(), descriptor_pool=self._pool
        )

    def _filled_in(self, value: Any) -> Any:
        """The example with this account's entities and days in place of ``$ADSET``, ``$DAY-7``, ``$ROWS 60``."""
        match value:
            case dict():
                return {name: self._filled_in(one) for name, one in value.items()}
            case list():
                return [self._filled_in(one) for one in value]
            case str() if value.startswith("$DAY"):
                return self._day(int(value.removeprefix("$DAY") or 0))
            case str() if value.startswith("$ROWS "):
                return [self._row(-back) for back in range(int(value.removeprefix("$ROWS ")))]
            case str() if value.startswith("$POINTS "):
                count = int(value.removeprefix("$POINTS "))
                return [
                    {
                        "time": f"2026-01-{1 + at // 24:02d}T{at % 24:02d}:00:00Z",
                        "value": self._random.gauss(10, 1),
                    }
                    for at in range(count)
                ]
            case str() if value[1:] in self._names:
                return self._names[value[1:]]
            case str() if value.startswith("$"):
                level, _, place = value[1:].partition(" ")
                ids = [entity for kind, entity in self._entities if kind == level]
                return ids[int(place or 0) % len(ids)]
        return value

    def _day(self, offset: int) -> dict[str, int]:
        day = self._last_day + timedelta(days=offset)
        return {"year": day.year, "month": day.month, "day": day.day}

    def _row(self, offset: int) -> dict[str, Any]:
        leads = self._random.randrange(9)
        return {
            "date": self._day(offset), "spend": round(20 + 10 * leads * self._random.random(), 2),
            "impressions": 900 + self._random.randrange(300), "clicks": 20 + self._random.randrange(20), "leads": leads,
        }  # fmt: skip

    # -- changes ---------------------------------------------------------------------------------------------

    def _places(self, message: Message, depth: int = 0) -> Iterator[tuple[Any, FieldDescriptor]]:
        """Every field in the message, with the message that it is of; of long lists some entries."""
        for one in message.DESCRIPTOR.fields:
            yield message, one
            if one.message_type is None or depth > _DEEPEST:
                continue
            if one.is_repeated:
                inside = list(getattr(message, one.name))
                for entry in self._random.sample(inside, min(2, len(inside))):
                    yield from self._places(entry, depth + 1)
            elif message.HasField(one.name):
                yield from self._places(getattr(message, one.name), depth + 1)

    def _varied(self, message: Any) -> None:
        """Another value that makes sense too: a number a little different, a later choice of an enum left as it was."""
        for _ in range(self._random.randrange(3)):
            places = [
                (holder, one)
                for holder, one in self._places(message)
                if not one.is_repeated
                and one.cpp_type in (one.CPPTYPE_DOUBLE, one.CPPTYPE_INT64)
                and (not one.has_presence or holder.HasField(one.name))
                and not one.name.endswith("id")
            ]
            if places:
                holder, one = self._random.choice(places)
                value = getattr(holder, one.name)
                setattr(holder, one.name, type(value)(value * self._random.uniform(0.9, 1.1)))

    def _spoiled(self, message: Any) -> None:
        """One field is missing, doubled, at an edge of its type, or of another kind."""
        holder, one = self._random.choice(list(self._places(message)))
        if self._random.random() < 0.2:
            holder.ClearField(one.name)
        elif one.is_repeated and self._random.random() < 0.5:
            values = list(getattr(holder, one.name))
            if values:
                getattr(holder, one.name).extend(
                    self._random.choices(values, k=self._random.choice((1, 2, _LONG)))
                )
        else:
            self._set(holder, one, depth=3)

    def _damaged(self, data: bytes) -> bytes:
        out = bytearray(data) or bytearray(self._random.randbytes(4))
        for _ in range(self._random.randint(1, 4)):
            at = self._random.randrange(len(out))
            match self._random.randrange(4):
                case 0:
                    out[at] ^= 1 << self._random.randrange(8)
                case 1:
                    del out[at + 1 :]
                case 2:
                    out[at:at] = out[at : at + 20]
                case _:
                    out[at] = self._random.randrange(256)
        return bytes(out)

    # -- grammar ---------------------------------------------------------------------------------------------

    def _grammar(self, made: type[Message], depth: int = 0) -> Message:
        out = made()
        for one in made.DESCRIPTOR.fields:
            if depth < _DEEPEST and self._random.random() < 0.6:
                self._set(out, one, depth)
        return out

    def _set(self, out: Any, one: FieldDescriptor, depth: int) -> None:
        if one.message_type is not None:
            if one.message_type.GetOptions().map_entry:
                return
            made = message_factory.GetMessageClass(one.message_type)
            if one.is_repeated:
                getattr(out, one.name).extend(
                    self._grammar(made, depth + 1) for _ in range(self._random.choice((0, 1, 2, 30)))
                )
            else:
                getattr(out, one.name).CopyFrom(self._grammar(made, depth + 1))
        elif one.is_repeated:
            count = self._random.choice((0, 1, 2, 30))
            getattr(out, one.name).extend(self._value(one) for _ in range(count))
        else:
            setattr(out, one.name, self._value(one))

    def _value(self, one: FieldDescriptor) -> Any:
        if one.enum_type is not None:
            return self._random.choice([*(value.number for value in one.enum_type.values), 99, -1])
        match one.cpp_type:
            case one.CPPTYPE_BOOL:
                return self._random.random() < 0.5
            case one.CPPTYPE_STRING:
                text = self._random.choice((*_STRINGS, self._random.choice(self._entities)[1]))
                return text.encode() if one.type == one.TYPE_BYTES else text
            case one.CPPTYPE_DOUBLE | one.CPPTYPE_FLOAT:
                return self._random.choice((*_REALS, self._random.gammavariate(1, 10)))
        bits = 31 if one.cpp_type in (one.CPPTYPE_INT32, one.CPPTYPE_UINT32) else 63
        return max(-(2**bits), min(self._random.choice(_WHOLE), 2**bits - 1))

    # -- answers ---------------------------------------------------------------------------------------------

    def _call(self, method: Any, data: bytes, report: Report) -> Iterator[str]:
        path = f"/{method.containing_service.full_name}/{method.name}"
        answers: list[bytes] = []
        try:
            if method.server_streaming:
                answers = list(self._channel.unary_stream(path)(data, timeout=self._timeout))
            else:
                answers = [self._channel.unary_unary(path)(data, timeout=self._timeout)]
        except grpc.RpcError as error:
            code = error.code().name
            yield f"code {code}"
            report.codes[f"{method.full_name} {code}"] += 1
            if code in NEVER:
                yield f"{code}: {error.details()}"
            metadata = dict(error.trailing_metadata() or ())
            # A deadline may pass before the server has said anything.
            if code != "DEADLINE_EXCEEDED":
                status = status_pb2.Status.FromString(metadata.get("grpc-status-details-bin", b""))
                yield from _judged(status, error.details() or "")
            return
        yield "code OK"
        report.codes[f"{method.full_name} OK"] += 1
        response = message_factory.GetMessageClass(method.output_type)
        for raw in answers:
            try:
                answer = response.FromString(raw)
            except DecodeError:
                yield "an answer that is no message"
                continue
            if method.name == "StartTraining":
                self._names["RUN"] = answer.run.run_id  # followed by the calls that name a run
            for status in _statuses(answer):
                name = code_pb2.Code.Name(status.code)
                report.codes[f"{method.full_name} /{name}"] += 1
                if name in NEVER:
                    yield f"in a batch, {name}: {status.message}"
                yield from _judged(status, status.message)


def _statuses(message: Any) -> Iterator[Any]:
    """Statuses of entries that failed, anywhere in an answer."""
    for one, value in message.ListFields():
        if one.message_type is None or one.message_type.GetOptions().map_entry:
            continue
        for inside in value if one.is_repeated else (value,):
            if one.message_type.full_name == "google.rpc.Status":
                if inside.code:
                    yield status_pb2.Status.FromString(inside.SerializeToString())
            else:
                yield from _statuses(inside)


def _judged(status: status_pb2.Status, message: str) -> Iterator[str]:
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    if not any(one.Unpack(info) for one in status.details):
        yield f"no ErrorInfo: {message}"
    words = [message]
    for one in status.details:
        if one.Unpack(bad):
            words += [violation.description for violation in bad.field_violations]
    for word in words:
        if LEAK.search(word):
            yield f"leaks: {word}"

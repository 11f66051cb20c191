"""Calls answered from memory on the event loop, all of one turn at once."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from adsml.registry.v1 import registry_service_pb2 as pb
from adsml_common.domain.errors import InvalidInput
from adsml_common.serving.context import CallContext
from adsml_common.serving.micro_batcher import TURN_BYTES, WAITING_BYTES, FastPath, MicroBatcher
from adsml_common.serving.server import ServerBuilder, UnsafeServer
from support.serving import REGISTRY, SECONDS, refusal, registry_service, running, settings


def served(fast_path: FastPath, **methods: Any) -> ServerBuilder:
    return ServerBuilder(settings()).add(
        registry_service(methods),
        REGISTRY,
        fast_path={"GetModel": fast_path},
    )


def named(name: str) -> pb.GetModelResponse:
    response = pb.GetModelResponse()
    response.model.ref.name = name
    return response


def slow(request: pb.GetModelRequest, context: CallContext) -> pb.GetModelResponse:
    return named(f"slow {request.name} in {threading.current_thread().name}")


def test_what_memory_answers_enters_no_thread() -> None:
    seen: list[str] = []

    def fast_path(calls: Sequence[tuple[Any, CallContext]]) -> list[Any]:
        seen.append(threading.current_thread().name)
        assert [context.request_id for _, context in calls] == ["abc"]
        return [named(f"quick {request.name}") for request, _ in calls]

    with running(served(fast_path, GetModel=slow)) as service:
        answer, call = service.registry.GetModel.with_call(
            pb.GetModelRequest(family=1, name="a"), timeout=SECONDS, metadata=(("x-request-id", "abc"),)
        )
    assert answer.model.ref.name == "quick a"
    assert dict(call.trailing_metadata())["x-request-id"] == "abc"
    assert seen == ["server"]


@pytest.mark.parametrize("fails", [False, True])
def test_what_it_does_not_answer_takes_the_long_way(fails: bool) -> None:
    def fast_path(calls: Sequence[tuple[Any, CallContext]]) -> list[Any]:
        if fails:
            raise RuntimeError("a defect")
        return [None for _ in calls]

    with running(served(fast_path, GetModel=slow)) as service:
        answer = service.registry.GetModel(pb.GetModelRequest(family=1, name="a"), timeout=SECONDS)
    assert answer.model.ref.name.startswith("slow a in calls-")


def test_a_bad_request_does_not_reach_it() -> None:
    def fast_path(calls: Sequence[tuple[Any, CallContext]]) -> list[Any]:
        raise AssertionError("nothing should come here")

    with running(served(fast_path)) as service:
        refused = refusal(
            lambda: service.registry.GetModel(pb.GetModelRequest(family=1, name=""), timeout=SECONDS)
        )
        assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
        assert list(refused.violations) == ["name"]
        garbage = service.channel.unary_unary(f"/{REGISTRY}/GetModel")
        refused = refusal(lambda: garbage(b"\xff\xff", timeout=SECONDS))
        assert refused.code is grpc.StatusCode.INVALID_ARGUMENT


def test_an_answer_of_the_wrong_type_is_a_defect_and_leaks_nothing() -> None:
    with running(served(lambda calls: ["no message" for _ in calls])) as service:
        refused = refusal(
            lambda: service.registry.GetModel(pb.GetModelRequest(family=1, name="a"), timeout=SECONDS)
        )
    assert refused.code is grpc.StatusCode.INTERNAL
    assert "message" not in refused.message


@pytest.mark.parametrize("name", ["Backtest", "Nothing"])
def test_only_unary_methods_that_there_are_can_be_answered_at_once(name: str) -> None:
    with pytest.raises(UnsafeServer, match=f"no unary method {name}"):
        ServerBuilder(settings()).add(
            registry_service({}),
            REGISTRY,
            fast_path={name: lambda calls: []},
        )


def echo(calls: Sequence[tuple[Any, CallContext]]) -> list[Any]:
    return [request.name for request, _ in calls]


def request(call: CallContext, raw: bytes) -> pb.GetModelRequest:
    if raw == b"bad":
        raise InvalidInput.at("name", "is bad")
    return pb.GetModelRequest(family=1, name=f"{len(raw)}")


def test_calls_of_one_turn_come_together_and_fail_alone() -> None:
    sizes: list[int] = []

    def fast_path(calls: Sequence[tuple[Any, CallContext]]) -> list[Any]:
        sizes.append(len(calls))
        return echo(calls)

    async def main() -> list[Any]:
        gathered = MicroBatcher(fast_path, request)
        ways = [gathered.answer(CallContext(), raw) for raw in (b"a", b"bad", b"ccc")]
        return await asyncio.gather(*ways, return_exceptions=True)

    first, second, third = asyncio.run(main())
    assert (first, third, sizes) == ("1", "3", [2])
    assert isinstance(second, InvalidInput)


def test_who_has_gone_is_not_answered() -> None:
    sizes: list[int] = []

    def fast_path(calls: Sequence[tuple[Any, CallContext]]) -> list[Any]:
        sizes.append(len(calls))
        return echo(calls)

    async def main() -> object:
        gathered = MicroBatcher(fast_path, request)
        gone = asyncio.ensure_future(gathered.answer(CallContext(), b"a"))
        stays = asyncio.ensure_future(gathered.answer(CallContext(), b"bb"))
        await asyncio.sleep(0)  # both have asked; the turn is next
        gone.cancel()
        return await stays

    assert asyncio.run(main()) == "2"
    assert sizes == [1]


def test_a_turn_and_what_waits_for_one_are_bounded() -> None:
    sizes: list[int] = []

    def fast_path(calls: Sequence[tuple[Any, CallContext]]) -> list[Any]:
        sizes.append(sum(int(request.name) for request, _ in calls))
        return echo(calls)

    async def main() -> list[Any]:
        gathered = MicroBatcher(fast_path, request)
        large = await gathered.answer(CallContext(), bytes(TURN_BYTES + 1))
        each = TURN_BYTES // 2
        many = await asyncio.gather(
            *(gathered.answer(CallContext(), bytes(each)) for _ in range(2 * WAITING_BYTES // each))
        )
        return [large, *many]

    large, *many = asyncio.run(main())
    assert large is None
    answered = [one for one in many if one is not None]
    assert 0 < len(answered) * (TURN_BYTES // 2) <= WAITING_BYTES
    assert many[: len(answered)] == answered
    assert max(sizes) <= TURN_BYTES + TURN_BYTES // 2

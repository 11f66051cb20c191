"""A command's question is answered alike in this process and by a running service."""

import inspect
from pathlib import Path
from typing import Annotated

import pytest
import typer
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting_pb2
from adsml.registry.v1 import registry_service_pb2 as pb
from adsml_common.cli.ask import Door, ask, asking, to_dict
from adsml_common.cli.options import contract_option
from adsml_common.cli.remote import Remote, with_server
from adsml_common.domain.errors import (
    AlreadyRunning,
    DeadlineExceeded,
    InsufficientHistory,
    InvalidInput,
    NotFound,
    Overloaded,
    Unavailable,
)
from adsml_common.serving.serialized import SerializedResponse
from support.serving import FORECASTING, REGISTRY, builder, forecasting_servicer, free_port, registry_service
from typer.testing import CliRunner

REQUEST = pb.GetModelRequest(family=1, name="classifier/1")


class _Database:
    def require_schema(self):
        pass


class _Opened:
    """A service as open_service() gives it."""

    def __init__(self, service):
        self.service, self.database, self.closed = service, _Database(), False

    def close(self):
        self.closed = True


def both_ways(methods):
    """The same methods in this process, and behind a channel."""
    opened = _Opened(registry_service(methods))
    yield Door(REGISTRY, lambda: opened), None
    assert opened.closed
    with builder(methods).start() as server:
        yield Door(REGISTRY, lambda: pytest.fail("opened here all the same")), Remote(server.target)


def get(methods):
    return [ask(door, REQUEST, remote=remote) for door, remote in both_ways(methods)]


def test_both_ways_give_the_same_response():
    def answer(request, context):
        assert context.method == f"/{REGISTRY}/GetModel"
        assert context.request_id
        return pb.GetModelResponse(model={"ref": {"name": request.name, "version": 3}})

    here, there = get({"GetModel": answer})
    assert here == there
    assert to_dict(here) == {"model": {"ref": {"name": "classifier/1", "version": 3}}}


def test_what_was_serialised_for_the_wire_is_a_message_again():
    data = pb.GetModelResponse(model={"sha256": "x"})
    answer = SerializedResponse(pb.GetModelResponse, data.SerializeToString())
    assert get({"GetModel": lambda request, context: answer}) == [data, data]


@pytest.mark.parametrize(
    "error",
    [
        NotFound("there is no model classifier/1"),
        InsufficientHistory("adset 42", had=3, needed=14),
        AlreadyRunning("a run is going on", metadata={"run_id": "r"}),
        Overloaded("too many", retry_after_seconds=2.5),
        InvalidInput.at("name", "is wrong"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_errors_come_out_the_same(error):
    def refuse(request, context):
        raise error

    seen = []
    for door, remote in both_ways({"GetModel": refuse}):
        with pytest.raises(type(error)) as caught:
            ask(door, REQUEST, remote=remote)
        seen.append(caught.value)
    for one in seen:
        assert (one.reason, one.message, one.metadata) == (error.reason, error.message, error.metadata)
        assert getattr(one, "violations", ()) == getattr(error, "violations", ())
        assert getattr(one, "retry_after_seconds", 0) == getattr(error, "retry_after_seconds", 0)


def test_a_bad_request_goes_nowhere():
    def answer(request, context):
        pytest.fail("asked all the same")

    for door, remote in both_ways({"GetModel": answer}):
        with pytest.raises(InvalidInput, match="name: is empty"):
            ask(door, pb.GetModelRequest(family=1), remote=remote)


def test_several_questions_open_once():
    opened = []

    def open_():
        opened.append(_Opened(registry_service({})))
        return opened[-1]

    with asking(Door(REGISTRY, open_)) as send:
        assert send(REQUEST) == pb.GetModelResponse()
        assert send(pb.ListModelsRequest(family=1)) == pb.ListModelsResponse()
        assert not opened[0].closed
    assert len(opened) == 1
    assert opened[0].closed


def test_a_stream_comes_piece_by_piece_both_ways():
    def backtest(request, context):
        for number in (1, 2):
            yield forecasting_pb2.BacktestResponse(progress={"done": number})
        raise NotFound("gone")

    request = forecasting_pb2.BacktestRequest(
        subjects=[{"entity": {"config_id": 1, "entity_type": 1, "entity_id": "a"}}], metric=1
    )
    here = Door(FORECASTING, lambda: _Opened(forecasting_servicer({"Backtest": backtest})))
    with builder({"Backtest": backtest}).start() as server:
        for remote in (None, Remote(server.target)):
            seen = []
            with pytest.raises(NotFound, match="gone"), asking(here, remote=remote) as send:
                seen.extend(send(request))
            assert [one.progress.done for one in seen] == [1, 2]


def test_nobody_there_is_unavailable_and_names_the_target():
    target = f"127.0.0.1:{free_port()}"
    with pytest.raises(Unavailable, match=target):
        ask(Door(REGISTRY, lambda: pytest.fail("opened")), REQUEST, remote=Remote(target, timeout=10))


def test_a_server_that_takes_too_long_is_a_deadline():
    def slow(request, context):
        while True:
            context.check_cancelled()

    with builder({"GetModel": slow}).start() as server:
        with pytest.raises(DeadlineExceeded):
            ask(Door(REGISTRY, lambda: None), REQUEST, remote=Remote(server.target, timeout=0.3))


def run(function, *arguments):
    app = typer.Typer()
    app.command()(function)
    return CliRunner().invoke(app, arguments)


def test_options_of_a_connection_are_added_to_a_command(tmp_path: Path):
    seen = []

    @with_server
    def look(name: str, *, remote: Remote | None) -> None:
        """Look."""
        seen.append((name, remote))

    assert list(inspect.signature(look).parameters)[:2] == ["name", "server"]
    authority = tmp_path / "ca.pem"
    authority.touch()
    assert run(look, "a").exit_code == 0
    assert run(look, "b", "--server", "h:1", "--ca-file", str(authority), "--timeout", "3").exit_code == 0
    assert [name for name, _ in seen] == ["a", "b"]
    assert seen[0][1] is None
    assert (seen[1][1].target, seen[1][1].tls, seen[1][1].timeout) == ("h:1", True, 3.0)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"target": "nowhere"}, "--server"),
        ({"target": "h:1", "ca_file": Path("/nowhere.pem")}, "--ca-file"),
        ({"target": "h:1", "key_file": Path("/nowhere.pem")}, "--cert-file"),
    ],
)
def test_a_connection_that_can_not_be_right_is_named(given, wrong):
    with pytest.raises(InvalidInput) as caught:
        Remote(**given)
    assert caught.value.violations[0].path == wrong


def test_limits_of_an_option_are_the_contracts():
    option = contract_option(forecasting_pb2.ForecastOptions, "horizon_days", help_text="Days to forecast.")
    seen = []

    def look(horizon: Annotated[int | None, option] = None) -> None:
        """Look."""
        seen.append(horizon)

    assert run(look, "--horizon-days", "90").exit_code == 0
    assert run(look).exit_code == 0
    assert run(look, "--horizon-days", "91").exit_code == 2
    assert seen == [90, None]
    assert "1<=x<=90" in run(look, "--help").output

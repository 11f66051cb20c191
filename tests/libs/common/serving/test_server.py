"""Putting servers together, starting and stopping them."""

import socket

import grpc
import pytest
from adsml.registry.v1 import registry_service_pb2 as pb
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml_common.serving.server import ServerBuilder, UnsafeServer
from support.serving import (
    FORECASTING,
    REGISTRY,
    SECONDS,
    builder,
    free_port,
    refusal,
    registry_service,
    running,
    settings,
)


def test_nothing_registered_is_refused():
    with pytest.raises(UnsafeServer, match="nothing is registered"):
        ServerBuilder(settings()).start()
    assert ServerBuilder(settings()).run() == 1


def test_a_service_registered_twice_is_refused():
    with pytest.raises(UnsafeServer, match="registered twice"):
        builder().add(registry_service({}), REGISTRY)


def test_a_name_that_no_contract_has_is_refused():
    with pytest.raises(UnsafeServer, match="no contract describes a service"):
        ServerBuilder(settings()).add(registry_service({}), "adsml.registry.v1.Registry")


def test_the_name_of_another_service_is_refused():
    with pytest.raises(UnsafeServer, match=f"does not implement Forecast, .* of {FORECASTING}"):
        ServerBuilder(settings()).add(registry_service({}), FORECASTING)


def test_a_method_that_is_not_implemented_is_refused():
    class Half(registry_grpc.ModelRegistryServiceServicer):
        def ListModels(self, request, context):
            return pb.ListModelsResponse()

    with pytest.raises(UnsafeServer, match="Half does not implement GetModel, Activate"):
        ServerBuilder(settings()).add(Half(), REGISTRY)


def test_an_asynchronous_handler_is_refused():
    servicer = registry_service({})

    async def get_model(self, request, context):
        return pb.GetModelResponse()

    type(servicer).GetModel = get_model
    with pytest.raises(UnsafeServer, match="GetModel is asynchronous"):
        ServerBuilder(settings()).add(servicer, REGISTRY)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org"])
def test_plain_text_beyond_this_machine_is_refused(host):
    with pytest.raises(UnsafeServer, match="can be reached from other machines and there is no TLS"):
        builder(host=host).start()


def test_unless_a_setting_says_so():
    built = builder(host="0.0.0.0", insecure=True)
    with built.start() as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = registry_grpc.ModelRegistryServiceStub(channel)
        assert stub.ListModels(pb.ListModelsRequest(family=1), timeout=SECONDS) == pb.ListModelsResponse()


def test_two_readiness_checks_are_refused():
    built = builder().readiness("database", lambda: None)
    with pytest.raises(UnsafeServer, match="two readiness checks"):
        built.readiness("store", lambda: None)


def test_a_port_that_is_taken_is_an_error_and_not_a_second_listener():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        port = one.getsockname()[1]
        with pytest.raises(OSError, match=f"can't listen on 127.0.0.1:{port}"):
            builder(port=port).start()
    with running(builder()) as service, pytest.raises(OSError, match="can't listen"):
        builder(port=service.server.port).start()


def test_what_warming_raises_stops_the_start():
    def warm():
        raise RuntimeError("no model")

    closed = []
    with pytest.raises(RuntimeError, match="no model"):
        builder().on_ready(warm).on_drain(lambda: closed.append(1)).start()
    assert closed == [1]


def test_warming_goes_in_order_and_closing_in_reverse():
    order = []
    built = builder()
    for name in "ab":
        built.on_ready(lambda name=name: order.append(f"warm {name}"))
        built.on_drain(lambda name=name: order.append(f"close {name}"))
    with running(built):
        assert order == ["warm a", "warm b"]
    assert order == ["warm a", "warm b", "close b", "close a"]


def test_one_that_fails_to_close_does_not_keep_the_others_open():
    closed = []

    def fails():
        raise OSError("no")

    with running(builder().on_drain(lambda: closed.append(1)).on_drain(fails)):
        pass
    assert closed == [1]


def test_two_servers_live_side_by_side_in_one_process():
    def named(name):
        return {"ListModels": lambda request, context: pb.ListModelsResponse(next_page_token=name)}

    with running(builder(named("a"))) as a, running(builder(named("b"))) as b:
        for _ in range(3):
            assert (
                a.registry.ListModels(pb.ListModelsRequest(family=1), timeout=SECONDS).next_page_token == "a"
            )
            assert (
                b.registry.ListModels(pb.ListModelsRequest(family=1), timeout=SECONDS).next_page_token == "b"
            )


def test_calls_before_the_models_are_loaded_are_unavailable():
    seen = []

    def early():
        with grpc.insecure_channel(f"127.0.0.1:{built.settings.port}") as channel:
            stub = registry_grpc.ModelRegistryServiceStub(channel)
            seen.append(refusal(lambda: stub.ListModels(pb.ListModelsRequest(family=1), timeout=SECONDS)))

    built = builder(port=free_port())
    with running(built.on_ready(early)):
        pass
    assert seen[0].code is grpc.StatusCode.UNAVAILABLE
    assert seen[0].info.reason == "UNAVAILABLE"

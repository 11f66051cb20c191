"""The error family: its names, its tree, and how it travels."""

import pickle

import grpc
import pytest
from adsml_client import errors
from google.rpc import status_pb2

TREE = {
    "AdsmlError": Exception,
    "ConfigurationError": errors.AdsmlError,
    "UnsafeConnection": errors.ConfigurationError,
    "CallError": errors.AdsmlError,
    "InvalidArgument": errors.CallError,
    "NotFound": errors.CallError,
    "AlreadyExists": errors.CallError,
    "FailedPrecondition": errors.CallError,
    "PermissionDenied": errors.CallError,
    "Unauthenticated": errors.CallError,
    "Overloaded": errors.CallError,
    "Unavailable": errors.CallError,
    "DeadlineExceeded": errors.CallError,
    "Cancelled": errors.CallError,
    "InternalError": errors.CallError,
}


def test_the_exported_names_are_these_and_no_others():
    """Callers catch them by name: one that goes or moves breaks their code."""
    assert {*errors.__all__} == {*TREE, "Violation"}
    for name, base in TREE.items():
        kind = getattr(errors, name)
        assert kind.__mro__[1] is base, name
        assert name in errors.__doc__, f"the page's head leaves out {name}"
    assert issubclass(errors.ConfigurationError, ValueError)


@pytest.mark.parametrize("code", grpc.StatusCode, ids=lambda code: code.name)
def test_every_status_is_one_of_the_family(code):
    error = errors.error_of_status(status_pb2.Status(code=code.value[0], message="why"))
    assert isinstance(error, errors.CallError)
    assert (error.code, str(error)) == (code, f"{code.name}: why")


def test_an_error_survives_a_process_pool():
    error = errors.InvalidArgument.of([errors.Violation("subject", "is not set")])
    error.request_id = "r"
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), "INVALID_ARGUMENT: subject: is not set (request r)")
    assert copy.violations == error.violations

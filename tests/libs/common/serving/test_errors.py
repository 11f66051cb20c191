"""The one place where errors become statuses."""

import logging

import pytest
from adsml_common.domain import errors
from adsml_common.serving.errors import status_of
from google.rpc import code_pb2, error_details_pb2
from hypothesis import given
from hypothesis import strategies as st


def unpacked(status, kind):
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            out = kind()
            packed.Unpack(out)
            return out
    raise AssertionError(f"no {kind.__name__}")


SHORT = errors.InsufficientHistory("ad 1", had=3, needed=7)
CASES = [
    (errors.InvalidInput.at("a", "is bad"), code_pb2.INVALID_ARGUMENT, "INVALID_INPUT"),
    (errors.NotFound("no"), code_pb2.NOT_FOUND, "NOT_FOUND"),
    (errors.AlreadyExists("was"), code_pb2.ALREADY_EXISTS, "ALREADY_EXISTS"),
    (errors.FailedPrecondition("no"), code_pb2.FAILED_PRECONDITION, "FAILED_PRECONDITION"),
    (SHORT, code_pb2.FAILED_PRECONDITION, "INSUFFICIENT_HISTORY"),
    (errors.AlreadyRunning("yes"), code_pb2.FAILED_PRECONDITION, "ALREADY_RUNNING"),
    (errors.ArtifactCorrupt("bad"), code_pb2.FAILED_PRECONDITION, "ARTIFACT_CORRUPT"),
    (errors.Overloaded("full", retry_after_seconds=1.5), code_pb2.RESOURCE_EXHAUSTED, "OVERLOADED"),
    (errors.Unavailable("down"), code_pb2.UNAVAILABLE, "UNAVAILABLE"),
    (errors.DeadlineExceeded("late"), code_pb2.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    (errors.Cancelled("gone"), code_pb2.CANCELLED, "CANCELLED"),
    (errors.Unauthenticated("who"), code_pb2.UNAUTHENTICATED, "UNAUTHENTICATED"),
    (errors.PermissionDenied("no"), code_pb2.PERMISSION_DENIED, "PERMISSION_DENIED"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "code", "reason"), CASES, ids=[case[2] for case in CASES])
def test_every_error_has_its_code_and_error_info(error, code, reason):
    status = status_of(error)
    info = unpacked(status, error_details_pb2.ErrorInfo)
    assert (status.code, info.reason, info.domain) == (code, reason, "adsml.internal")


def test_the_table_covers_the_whole_family():
    def family(kind):
        return {kind}.union(*(family(sub) for sub in kind.__subclasses__()))

    served = {kind for kind in family(errors.AdsmlError) if kind.__module__ == errors.__name__}
    assert served - {errors.AdsmlError} == {type(case[0]) for case in CASES}


def test_history_says_how_much_there_is_and_is_needed():
    info = unpacked(status_of(SHORT), error_details_pb2.ErrorInfo)
    assert dict(info.metadata) == {"days_had": "3", "days_needed": "7"}


def test_shedding_says_when_to_come_back():
    retry = unpacked(status_of(CASES[7][0]), error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 1500


def test_a_defect_of_ours_is_told_by_an_incident_id_and_nothing_else(caplog):
    try:
        raise KeyError("postgresql://user:password@db/secret")
    except KeyError as error:
        with caplog.at_level(logging.ERROR):
            status = status_of(error)
    assert status.code == code_pb2.INTERNAL
    incident = unpacked(status, error_details_pb2.ErrorInfo).metadata["incident"]
    assert incident in status.message
    assert b"password" not in status.SerializeToString()
    assert b"KeyError" not in status.SerializeToString()
    [record] = [record for record in caplog.records if incident in record.getMessage()]
    assert record.exc_info is not None


@given(
    st.lists(
        st.builds(
            errors.FieldViolation,
            st.text(max_size=300),
            st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=900),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_a_status_fits_into_grpcs_metadata_whatever_is_wrong(violations):
    # 8 KiB is the soft limit of a receiver; above it callers see their own library's error. The message is
    # sent a second time, percent-encoded.
    status = status_of(errors.InvalidInput(violations))
    assert status.ByteSize() + 3 * len(status.message.encode()) < 8 * 1024 - 200
    info = unpacked(status, error_details_pb2.ErrorInfo)
    assert info.metadata["violations"] == str(len(violations))


def test_violations_that_do_not_fit_are_counted():
    violations = [errors.FieldViolation(f"rows[{row}].spend", "x" * 200) for row in range(100)]
    bad = unpacked(status_of(errors.InvalidInput(violations)), error_details_pb2.BadRequest)
    shown = len(bad.field_violations) - 1
    assert shown >= 10
    assert bad.field_violations[-1].description == f"and {100 - shown} more violations that did not fit here"

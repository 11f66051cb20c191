"""Rules of a contract: what is told of a request that breaks them. The probe's contract is compiled here."""

import subprocess
import sys
from pathlib import Path

import pytest
from adsml.common.v1 import metrics_pb2
from adsml_common.domain.errors import InvalidInput
from adsml_common.serving import contract_rules, validation
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.type import date_pb2

PROTOS = Path(__file__).resolve().parents[4] / "protos"

CONTRACT = """
syntax = "proto3";
package adsml.probe.validation.v1;
import "adsml/common/v1/metrics.proto";
import "buf/validate/validate.proto";
import "google/type/date.proto";

message Request {
  option (buf.validate.message).cel = {
    id: "ordered"
    message: "comes before first_date"
    expression: "!has(this.first_date) || !has(this.last_date) || this.last_date.year >= this.first_date.year"
  };
  int64 config_id = 1 [(buf.validate.field).int64.gt = 0];
  optional int32 days = 2 [(buf.validate.field).int32 = {gte: 1, lte: 90}];
  optional double level = 3 [(buf.validate.field).double = {gte: 0.5, lte: 0.99}];
  double budget = 4 [(buf.validate.field).double = {gte: 0, finite: true}];
  string name = 5 [(buf.validate.field).string = {min_len: 1, max_len: 8, pattern: "^[^\\\\x00-\\\\x1f\\\\x7f-\\\\x9f]*$"}];
  adsml.common.v1.Metric metric = 6 [(buf.validate.field).enum = {defined_only: true, not_in: [0, 5]}];
  repeated adsml.common.v1.Metric metrics = 7 [(buf.validate.field).repeated = {unique: true, items: {enum: {defined_only: true, not_in: [0]}}}];
  repeated Entry entries = 8 [(buf.validate.field).repeated = {min_items: 1, max_items: 3}];
  repeated Entry batch = 9 [(buf.validate.field).repeated = {max_items: 1000, items: {ignore: IGNORE_ALWAYS}}];
  google.type.Date first_date = 10;
  google.type.Date last_date = 11 [(buf.validate.field).required = true];
  Choice choice = 12;
  repeated adsml.common.v1.DailyMetrics rows = 13 [(buf.validate.field).repeated = {max_items: 10, items: {ignore: IGNORE_ALWAYS}}];
  repeated google.type.Date excluded = 14 [(buf.validate.field).repeated.max_items = 2];
  optional int64 large = 16 [(buf.validate.field).int64 = {gte: 1, lte: 9223372036854775807}];
  double hard = 15 [(buf.validate.field).cel = {id: "hard", message: "is not hard", expression: "int(this) < 5"}];
}
message Entry {
  string id = 1 [(buf.validate.field).string = {min_len: 1, max_len: 64}];
  google.type.Date date = 2;
}
message Choice {
  oneof source {
    option (buf.validate.oneof).required = true;
    string entity = 1;
    string inline = 2;
  }
}
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contract")
    (folder / "probe_validation.proto").write_text(CONTRACT)
    image = folder / "image.binpb"
    program = f"""
from pathlib import Path
from protoc import protoc
protoc(Path({str(folder)!r}), ["probe_validation.proto"], "--descriptor_set_out={image}", "--proto_path={PROTOS}")
"""
    subprocess.run([sys.executable, "-c", program], cwd=PROTOS, check=True)
    files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(files.file[0].SerializeToString())

    class Probe:
        Request = message_factory.GetMessageClass(
            pool.FindMessageTypeByName("adsml.probe.validation.v1.Request")
        )
        Entry = message_factory.GetMessageClass(pool.FindMessageTypeByName("adsml.probe.validation.v1.Entry"))

    return Probe


def day(year=2024, month=5, day=1):
    return date_pb2.Date(year=year, month=month, day=day)


def good(probe, **changed):
    right = {
        "config_id": 1,
        "name": "a",
        "metric": metrics_pb2.METRIC_SPEND,
        "entries": [{"id": "a"}],
        "last_date": day(),
    }
    return probe.Request(**(right | changed))


def told(message, path=""):
    return {one.path: one.description for one in validation.violations(message, path)}


def test_a_good_request_has_nothing_wrong(probe):
    assert told(good(probe, days=90, level=0.5, excluded=[day()], metrics=[1, 2])) == {}


@pytest.mark.parametrize(
    ("changed", "path", "description"),
    [
        ({"config_id": -3}, "config_id", "is -3; expected a whole number, above 0"),
        ({"days": 91}, "days", "is 91; expected 1 to 90"),
        # Not "1 to 9.22337203685478e+18".
        ({"large": 0}, "large", "is 0; expected a whole number, 1 or more"),
        ({"level": float("nan")}, "level", "is nan; expected 0.5 to 0.99"),
        ({"budget": float("inf")}, "budget", "is inf; expected a finite number, 0 or more"),
        ({"name": ""}, "name", "is empty; expected 1 to 8 characters without control characters"),
        (
            {"name": "ü" * 9},
            "name",
            "has 9 characters; expected 1 to 8 characters without control characters",
        ),
        ({"name": "a\n"}, "name", "is 'a\\n'; expected 1 to 8 characters without control characters"),
        (
            {"metric": 0},
            "metric",
            "is not set; expected one of SPEND, IMPRESSIONS, CLICKS, LEADS, CTR, CPC, CPM, CONVERSION_RATE, FREQUENCY",
        ),
        (
            {"metric": 5},
            "metric",
            "is CPL; expected one of SPEND, IMPRESSIONS, CLICKS, LEADS, CTR, CPC, CPM, CONVERSION_RATE, FREQUENCY",
        ),
        (
            {"metrics": [1, 77]},
            "metrics[1]",
            "is 77, which has no name; expected one of SPEND, IMPRESSIONS, CLICKS, LEADS, CPL, CTR, CPC, CPM, CONVERSION_RATE, FREQUENCY",
        ),
        ({"metrics": [1, 1]}, "metrics", "names one of its entries again; name each once"),
        ({"entries": []}, "entries", "has 0 entries; expected 1 to 3 entries"),
        ({"entries": [{}] * 4}, "entries", "has 4 entries; expected 1 to 3 entries"),
        (
            {"entries": [{"id": "a"}, {"id": ""}]},
            "entries[1].id",
            "is empty; expected 1 to 64 characters",
        ),
        ({"last_date": None}, "last_date", "is not set; expected year, month and day"),
        (
            {"last_date": day(2023, 2, 29)},
            "last_date",
            "is 2023-02-29; expected a day of the calendar from 1990 to 2100",
        ),
        (
            {"last_date": day(year=1989)},
            "last_date",
            "is 1989-05-01; expected a day of the calendar from 1990 to 2100",
        ),
        (
            {"last_date": day(year=2**31 - 1)},
            "last_date",
            "is 2147483647-05-01; expected a day of the calendar from 1990 to 2100",
        ),
        (
            {"excluded": [day(), day(day=0)]},
            "excluded[1]",
            "is 2024-05-00; expected a day of the calendar from 1990 to 2100",
        ),
        ({"excluded": [day(day=0)] * 3}, "excluded", "has 3 entries; expected at most 2 entries"),
        ({"choice": {}}, "choice", "is empty; set entity or inline"),
        ({"first_date": day(year=2025)}, "", "comes before first_date"),
        ({"hard": 7.0}, "hard", "is not hard"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_what_is_expected(probe, changed, path, description):
    assert told(good(probe, **changed)) == {path: description}


def test_everything_is_told_at_once(probe):
    wrong = told(probe.Request(days=0, choice={}, excluded=[day(day=32)]))
    assert set(wrong) == {
        "config_id", "days", "name", "metric", "entries", "last_date", "choice", "excluded[0]",
    }  # fmt: skip


def test_entries_of_a_batch_fail_apart(probe):
    assert told(good(probe, batch=[{}, {"id": "x"}])) == {}
    batch = [probe.Entry(id="x"), probe.Entry(), probe.Entry(id="x", date=day(day=0))]
    wrong = validation.entry_violations(batch, "batch")
    assert {place: [one.path for one in found] for place, found in wrong.items()} == {
        1: ["batch[1].id"],
        2: ["batch[2].date"],
    }


def test_rows_are_told_when_something_else_is_wrong(probe):
    rows = [{"date": day(), "spend": -1, "impressions": 0, "clicks": 0, "leads": 0}]
    assert told(good(probe, rows=rows)) == {}, "they are checked where they are read"
    assert set(told(good(probe, rows=rows, days=0))) == {"days", "rows[0].spend"}


def test_what_a_hostile_request_is_told_is_bounded(probe):
    request = good(probe, metrics=[77] * 100_000, entries=[{}] * 100_000)
    wrong = told(request)
    assert wrong["entries"] == "has 100000 entries; expected 1 to 3 entries"
    assert "metrics" in wrong
    assert len(wrong) <= validation.MAX_VIOLATIONS


def test_a_rule_that_can_not_be_evaluated_refuses_the_request(probe):
    assert list(told(good(probe, hard=float("inf")))) == [""]


def test_check_raises_all_of_it(probe):
    with pytest.raises(InvalidInput) as caught:
        validation.check(good(probe, days=0, level=2))
    assert [one.path for one in caught.value.violations] == ["days", "level"]


def test_bounds_of_a_field_can_be_read(probe):
    fields = probe.Request.DESCRIPTOR.fields_by_name
    bounds = contract_rules.number_bounds(contract_rules.rules(fields["days"]))
    assert (bounds.low, bounds.high, bounds.above) == (1, 90, False)
    bounds = contract_rules.number_bounds(contract_rules.rules(fields["config_id"]))
    assert (bounds.low, bounds.high, bounds.above) == (0, None, True)
    assert contract_rules.number_bounds(contract_rules.rules(fields["name"])) == contract_rules.Bounds()


def test_the_seed_of_a_bootstrap_is_not_negative() -> None:
    """It once came to numpy, and ended as INTERNAL."""
    from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting_pb

    request = forecasting_pb.BacktestRequest(bootstrap_samples=50, seed=-1)
    told = {one.path: one.description for one in validation.violations(request)}
    assert told["seed"] == "is -1; expected a whole number, 0 or more"

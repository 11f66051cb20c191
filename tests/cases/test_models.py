"""Every case of ../shared/cases/models, asked of the services by every door that can ask it."""

from pathlib import Path
from typing import Any

import pytest

from cases import questions
from cases.expectations import Expectations
from cases.questions import Account

ASKED = [(case, door) for case in questions.cases() for door in questions.doors(case)]


@pytest.mark.skipif(not ASKED, reason="../shared/cases/models is not here")
@pytest.mark.parametrize(("case", "door"), ASKED, ids=[f"{case['case']}-{door}" for case, door in ASKED])
def test_case(case: dict[str, Any], door: str, tmp_path: Path) -> None:
    account = Account(case["case"], tmp_path)
    method, request = questions.REQUESTS[case["family"]](account, case["question"], door)
    with questions.service(case["family"], account) as service:
        reply = questions.ask(service, method, request, seconds=case["question"].get("deadline_seconds"))
    (again := tmp_path / "again").mkdir()
    failures = Expectations(case, account, door, reply, again).failures()
    assert not failures, f"{'; '.join(failures)}\nwhy: {case['why']}"

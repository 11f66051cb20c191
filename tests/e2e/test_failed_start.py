"""A server that can't start says why, and nothing else."""

from pathlib import Path

import pytest
from adsml_common.domain.errors import FailedPrecondition
from support.families import build, servable, settings_of


@pytest.mark.parametrize("family", servable())
def test_without_a_schema_the_log_has_no_second_error(
    family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(family, database_url=f"sqlite:///{tmp_path / 'none.db'}", folder=tmp_path)
    with pytest.raises(FailedPrecondition, match="has no schema"):
        build(family, settings).start()
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []

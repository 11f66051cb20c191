"""What is exported and imported again is the account: the way the demo takes."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest
from adsml_common.database import Database
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore
from adsml_ingest import ImportOptions, import_files
from adsml_simulate import AnomalyKind, SimulatedAccount, inject_anomalies
from adsml_simulate.export import ExportFormat, account_number, write_export

LAST_DAY = date(2026, 6, 30)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(f"sqlite:///{tmp_path / 'adsml.db'}")
    opened.migrate()
    yield opened
    opened.close()


def exported(
    account: SimulatedAccount, folder: Path, how: ExportFormat, as_of: date | None = None
) -> list[Path]:
    written = write_export(account, folder, export_format=how, as_of=as_of)
    return [path for path in written.files if path.parent.name == "insights" or path.name == "daily.csv"]


@pytest.mark.parametrize("how", list(ExportFormat))
def test_an_export_is_imported_as_the_daily_frame(
    lively: SimulatedAccount, database: Database, tmp_path: Path, how: ExportFormat
) -> None:
    files = exported(lively, tmp_path / "out", how)
    options = ImportOptions(today=LAST_DAY)
    import_files(files, config_id=1, store=MetricStore(database), options=options)
    pd.testing.assert_frame_equal(MetricStore(database).daily(1), lively.daily)
    parents = {e.ref: e.parent_id for e in EntityStore(database).list(1)}
    # Entities without a row in the data are not in an export.
    seen = set(lively.daily["entity_id"])
    assert parents == {e.ref: e.parent_id for e in lively.entities if e.ref.entity_id in seen}
    again = import_files(files, config_id=1, store=MetricStore(database), options=options)
    assert again.loaded.changed == 0


def test_pages_of_insights_keep_names_and_the_account(
    lively: SimulatedAccount, database: Database, tmp_path: Path
) -> None:
    files = exported(lively, tmp_path / "out", ExportFormat.INSIGHTS)
    options = ImportOptions(today=LAST_DAY, account_id=account_number(1))
    import_files(files, config_id=1, store=MetricStore(database), options=options)
    names = {e.ref: (e.name, e.objective) for e in EntityStore(database).list(1)}
    assert names
    assert all(names[e.ref] == (e.name, e.objective) for e in lively.entities if e.ref in names)


def test_an_import_a_week_later_brings_the_leads_that_came_late(
    lively: SimulatedAccount, database: Database, tmp_path: Path
) -> None:
    faulty = inject_anomalies(lively, list(AnomalyKind), rate=1.0, seed=1)
    options = ImportOptions(today=LAST_DAY)
    for back in (7, 0):
        day = LAST_DAY - timedelta(days=back)
        files = exported(faulty, tmp_path / str(back), ExportFormat.INSIGHTS, as_of=day)
        import_files(files, config_id=1, store=MetricStore(database), options=options)
        pd.testing.assert_frame_equal(MetricStore(database).daily(1), faulty.as_of(day))

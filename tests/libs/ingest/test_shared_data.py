"""The shared evaluation data: every file is imported, or refused for a stated reason."""

import pytest
from adsml_common.database import Database
from adsml_common.domain.errors import InvalidInput
from adsml_common.store.metrics import MetricStore
from adsml_ingest import import_files, read_frame
from support.exports import shared_data

IMPORTED = {
    "meta_insights_sample.json": (1, 1, 1),
    "fivetran_ad_history_data.csv": (4, 4, 4),
    "fivetran_ad_set_history_data.csv": (4, 4, 0),
    "fivetran_campaign_history_data.csv": (4, 0, 0),
}
REFUSED = {
    "ads_manager_export_variants.csv.txt": "line 2 looks like a header: remove the lines before it",
    "fivetran_basic_ad_data.csv": "has no leads: they are in the table basic_ad_actions",
    "fivetran_basic_ad_actions_data.csv": "holds actions of ads without basic_ad",
    "fivetran_basic_ad_action_values_data.csv": "holds nothing that is needed",
}


def test_no_file_is_forgotten() -> None:
    files = {path.name for path in shared_data("ingest").iterdir()}
    assert files == IMPORTED.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", IMPORTED)
def test_imported(name: str) -> None:
    summary = import_files([shared_data("ingest", name)], config_id=1, store=None)
    assert tuple(summary.entity_counts.values()) == IMPORTED[name]
    assert summary.rows_rejected == 0


@pytest.mark.parametrize("name", REFUSED)
def test_refused_for_a_stated_reason(name: str) -> None:
    with pytest.raises(InvalidInput, match=REFUSED[name]):
        import_files([shared_data("ingest", name)], config_id=1, store=None)


def test_the_leads_of_the_insights_sample_are_the_total() -> None:
    rows, _ = read_frame(shared_data("ingest", "meta_insights_sample.json"))
    assert rows[rows["entity_type"] == "ad"][["spend", "clicks", "leads"]].to_numpy().tolist() == [
        [14.35, 9.0, 3.0]
    ]


def test_fivetran_tables_together() -> None:
    paths = sorted(shared_data("ingest").glob("fivetran_*"))
    rows, entities = read_frame(paths)
    ads = rows[rows["entity_type"] == "ad"]
    # By hand from the tables: the only ad with lead actions on days with delivery is 6229007992271.
    leads = {row["date"].day: row["leads"] for row in ads.to_dict("records") if row["leads"] > 0}
    assert leads == {3: 3.0, 5: 2.0, 13: 4.0, 14: 3.0}
    assert len(ads) == 10
    assert entities.groupby("entity_type").size().to_dict() == {"ad": 4, "adset": 4, "campaign": 4}
    for level in ("adset", "campaign"):
        assert rows[rows["entity_type"] == level]["spend"].sum() == pytest.approx(ads["spend"].sum())


def test_the_variants_of_ads_manager_one_by_one(tmp_path_factory: pytest.TempPathFactory) -> None:
    text = shared_data("ingest", "ads_manager_export_variants.csv.txt").read_text(encoding="utf-8")
    variants = text.split("\n", 1)[1].split("---\n")
    said = [
        "is more than one day; export it by day",
        "has no column for the day",
        "has no column for leads",
        "has no column for clicks",
        "has a header but no rows",
    ]
    for index, (variant, reason) in enumerate(zip(variants, said, strict=True)):
        path = tmp_path_factory.mktemp("variant") / f"{index}.csv"
        path.write_text(variant, encoding="utf-8")
        with pytest.raises(InvalidInput, match=reason):
            read_frame(path)


def test_the_real_account(database: Database) -> None:
    path = shared_data("ads", "display_2020_apr_may.csv")
    summary = import_files([path], config_id=1, store=MetricStore(database))
    assert tuple(summary.entity_counts.values()) == (3, 48, 243)
    assert summary.loaded.inserted == summary.rows_read == 13_358
    assert (str(summary.first_day), str(summary.last_day)) == ("2020-04-01", "2020-05-31")
    again = import_files([path], config_id=1, store=MetricStore(database))
    assert again.loaded.unchanged == 13_358
    assert again.loaded.changed == 0

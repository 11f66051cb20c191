"""Exports of Ads Manager as people set them up: languages, numbers, dates, totals, names in place of ids."""

from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from adsml_common.domain.errors import InvalidInput
from adsml_ingest import Clicks, ImportOptions, import_files, read_frame
from adsml_ingest.headers import currency_of, languages, normal, recognise

# As in public importers and their tests.
REPORTS = {
    "English": (
        'Campaign name,Day,Amount spent (AUD),Impressions,Reach,Clicks (all),Leads\n'
        '"Flu shots – Search",2026-03-05,"1,250.50","48,000","21,000",960,41\n'
    ),
    "French": (
        "Jour;Nom de la campagne;Montant dépensé (USD);Impressions;Couverture;Clics (tous);Prospects\n"
        '05/03/2026;Flu shots – Search;"1 250,50";48000;21000;960;41\n'
    ),
    "German": (
        "Kampagnenname;Tag;Ausgegebener Betrag (EUR);Impressionen;Reichweite;Klicks (alle);Leads\n"
        "Flu shots – Search;05.03.2026;1.250,50;48.000;21.000;960;41\n"
    ),
    "Spanish": (
        "Nombre de la campaña;Día;Importe gastado (EUR);Impresiones;Alcance;Clics (todos);"
        "Clientes potenciales\n"
        "Flu shots – Search;2026-03-05;1.250,50;48.000;21.000;960;41\n"
    ),
    "Portuguese": (
        "Nome da campanha,Dia,Valor usado (BRL),Impressões,Alcance,Cliques (todos),Leads\n"
        '"Flu shots – Search",2026-03-05,"1.250,50",48000,21000,960,41\n'
    ),
    "Italian": (
        "Nome della campagna,Giorno,Importo speso (EUR),Impression,Copertura,Clic (tutti),Contatti\n"
        '"Flu shots – Search",2026-03-05,"1.250,50","48.000","21.000",960,41\n'
    ),
}  # fmt: skip


@pytest.mark.parametrize("language", REPORTS)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_languages(language: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    path.write_bytes(REPORTS[language].encode(encoding))
    found, entities = read_frame(path)
    assert found.to_numpy().tolist() == [
        ["campaign", "Flu shots – Search", pd.Timestamp("2026-03-05"), 1250.5, 48000.0, 960.0, 41.0, 21000.0]
    ]
    assert entities["name"].tolist() == ["Flu shots – Search"]
    recognised = recognise(REPORTS[language].split("\n")[0].replace(";", ",").split(","))
    assert recognised is not None
    assert recognised.language == language
    notes = import_files([path], config_id=1, store=None).files[0].notes
    assert any("their names are used as ids" in note for note in notes)


@pytest.mark.parametrize("language", languages())
def test_no_header_means_two_things_in_one_language(language: str) -> None:
    fields: dict[str, str] = {}
    words = ("total", "all", "results_of")
    for field, names in languages()[language].items():
        if field in words:
            continue
        for name in names:
            assert fields.setdefault(normal(name), field) == field


def test_headers_are_compared_without_case_accents_and_currency() -> None:
    assert normal(" MONTANT  Dépensé (EUR) ") == normal("montant depense")
    assert normal("Nom de l\u2019ensemble") == normal("Nom de l'ensemble")
    assert currency_of("Amount spent (EUR)") == "EUR"
    assert currency_of("Clicks (all)") is None


HEADER = "Campaign name,Ad set name,Ad name,Day,Amount spent (EUR),Impressions,Link clicks,Leads\n"


def _read(path: Path, text: str, options: ImportOptions | None = None) -> pd.DataFrame:
    path.write_text(text, encoding="utf-8")
    return read_frame(path, options=options)[0]


def test_entities_without_ids_are_named_by_their_path(tmp_path: Path) -> None:
    rows = "Spring,Broad,Video,2026-03-01,1,9,2,1\nSpring,Retargeting,Video,2026-03-01,2,9,2,1\n"
    found = _read(tmp_path / "r.csv", HEADER + rows)
    ads = found[found["entity_type"] == "ad"]
    assert ads["entity_id"].tolist() == ["Spring / Broad / Video", "Spring / Retargeting / Video"]
    assert found[found["entity_type"] == "campaign"][["entity_id", "spend"]].to_numpy().tolist() == [
        ["Spring", 3.0]
    ]


def test_ids_of_some_levels_and_names_of_others(tmp_path: Path) -> None:
    header = "Campaign name,Ad set ID,Ad set name,Day,Amount spent (EUR),Impressions,Link clicks,Leads\n"
    path = tmp_path / "r.csv"
    path.write_text(header + "Spring,77,Broad,2026-03-01,1,9,2,1\n")
    _, entities = read_frame(path)
    assert entities[["entity_id", "parent_id", "name"]].to_numpy().tolist() == [
        ["Spring", None, "Spring"], ["77", "Spring", "Broad"],
    ]  # fmt: skip


def test_totals_are_left_out_wherever_they_stand(tmp_path: Path) -> None:
    rows = (
        ",,,,6,27,6,3\n"  # of the account, on top
        "Spring,Broad,Video,2026-03-01,1,9,2,1\n"
        "Spring,Broad,,2026-03-01,1,9,2,1\n"  # of the ad set
        "Spring,Broad,Video,All,3,18,4,2\n"  # of all days
        "Spring,Broad,Video,,3,18,4,2\n"
        "Total,,,,6,27,6,3\n"
    )
    path = tmp_path / "r.csv"
    found = _read(path, HEADER + rows)
    assert found[found["entity_type"] == "ad"]["spend"].tolist() == [1.0]
    assert import_files([path], config_id=1, store=None).files[0].totals == 5


def test_totals_of_a_report_with_start_and_end(tmp_path: Path) -> None:
    header = (
        "Campaign name,Reporting starts,Reporting ends,Amount spent (EUR),Impressions,Link clicks,Leads\n"
    )
    rows = (
        "Spring,2026-03-01,2026-03-01,1,9,2,1\n"
        "Total,2026-03-01,2026-03-31,6,27,6,3\n"
        ",2026-03-01,2026-03-31,6,27,6,3\n"
    )
    assert _read(tmp_path / "r.csv", header + rows)["spend"].tolist() == [1.0]


def test_a_campaign_called_total_is_a_campaign(tmp_path: Path) -> None:
    rows = "Total,Broad,Video,2026-03-01,1,9,2,1\n"
    assert len(_read(tmp_path / "r.csv", HEADER + rows)) == 3


@pytest.mark.parametrize("blank", ["", "--", "-", "—"])
def test_blank_metrics_are_none(blank: str, tmp_path: Path) -> None:
    found = _read(
        tmp_path / "r.csv", HEADER + f"Spring,Broad,Video,2026-03-01,{blank},{blank},{blank},{blank}\n"
    )
    assert found[["spend", "impressions", "clicks", "leads"]].to_numpy().tolist() == [[0.0] * 4] * 3
    assert found["reach"].isna().all()


def test_breakdowns_are_summed_without_reach(tmp_path: Path) -> None:
    header = "Campaign ID,Day,Age,Gender,Amount spent (EUR),Impressions,Reach,Link clicks,Leads\n"
    rows = "".join(
        f"10,2026-03-01,{age},{gender},0.1,10,8,2,1\n" for age in ("18-24", "25-34") for gender in ("f", "m")
    )
    path = tmp_path / "r.csv"
    found = _read(path, header + rows + rows.splitlines(keepends=True)[0])
    assert found[["spend", "impressions", "clicks", "leads"]].to_numpy().tolist() == [[0.4, 40.0, 8.0, 4.0]]
    assert found["reach"].isna().all()
    summary = import_files([path], config_id=1, store=None)
    assert (summary.summed, summary.duplicates) == (4, 1)
    assert any("broken down by Age, Gender: summed" in note for note in summary.files[0].notes)


def test_parts_of_a_breakdown_that_contradict_are_refused(tmp_path: Path) -> None:
    header = "Campaign name,Day,Age,Amount spent (EUR),Impressions,Link clicks,Leads\n"
    with pytest.raises(
        InvalidInput,
        match=r"line 3: campaign Spring on 2026-03-01 is in line 2 too: two entities of one name",
    ):
        _read(
            tmp_path / "r.csv", header + "Spring,2026-03-01,18-24,1,9,2,1\nSpring,2026-03-01,18-24,2,9,2,1\n"
        )


def test_a_breakdown_beside_its_total_says_the_same(tmp_path: Path) -> None:
    parts = tmp_path / "parts.csv"
    parts.write_text(
        "Campaign name,Day,Age,Amount spent (EUR),Impressions,Link clicks,Leads\n"
        "Spring,2026-03-01,18-24,0.1,9,2,1\nSpring,2026-03-01,25-34,0.2,9,2,1\n"
    )
    whole = tmp_path / "whole.csv"
    header = "Campaign name,Day,Amount spent (EUR),Impressions,Reach,Link clicks,Leads\n"
    whole.write_text(header + "Spring,2026-03-01,0.3,18,11,4,2\n")
    found, _ = read_frame([parts, whole])
    assert found[["spend", "reach"]].to_numpy().tolist() == [[0.3, 11.0]]
    whole.write_text(header + "Spring,2026-03-01,0.4,18,11,4,2\n")
    with pytest.raises(InvalidInput, match=r"has spend 0.3 here and spend 0.4 in line 2 of .*whole.csv"):
        read_frame([parts, whole])


@pytest.mark.parametrize(
    ("indicator", "leads"),
    [
        ("actions:lead", 4.0),
        ("actions:onsite_conversion.lead_grouped", 4.0),
        ("On-Facebook leads", 4.0),
        ("actions:link_click", 0.0),
        ("", 0.0),
    ],
)
def test_results_are_leads_where_their_indicator_says_so(
    indicator: str, leads: float, tmp_path: Path
) -> None:
    header = "Campaign name,Day,Amount spent (EUR),Impressions,Link clicks,Results,Result indicator\n"
    found = _read(tmp_path / "r.csv", header + f"Spring,2026-03-01,1,9,2,4,{indicator}\n")
    assert found["leads"].tolist() == [leads]


def test_the_column_of_leads_can_be_named(tmp_path: Path) -> None:
    header = "Campaign name,Day,Amount spent (EUR),Impressions,Link clicks,Purchases\n"
    options = ImportOptions(leads_columns=("purchases",))
    assert _read(tmp_path / "r.csv", header + "Spring,2026-03-01,1,9,2,4\n", options)["leads"].tolist() == [
        4.0
    ]
    with pytest.raises(InvalidInput, match="--leads-column"):
        _read(tmp_path / "r.csv", header + "Spring,2026-03-01,1,9,2,4\n")


@pytest.mark.parametrize(("clicks", "count"), [(None, 5.0), (Clicks.ALL, 5.0), (Clicks.LINK, 2.0)])
def test_which_clicks(clicks: Clicks | None, count: float, tmp_path: Path) -> None:
    header = "Campaign name,Day,Amount spent (EUR),Impressions,Link clicks,Clicks (all),Leads\n"
    options = ImportOptions(clicks=clicks)
    assert _read(tmp_path / "r.csv", header + "Spring,2026-03-01,1,9,2,5,1\n", options)[
        "clicks"
    ].tolist() == [count]


def test_a_total_says_so_and_a_row_without_a_name_of_its_level_is_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"line 2: Ad name '' names nothing, and the row is not the total"):
        _read(tmp_path / "r.csv", HEADER + "Spring,,,2026-03-01,1,9,2,1\n")


def test_american_dates_are_found_by_a_day_above_twelve(tmp_path: Path) -> None:
    rows = "Spring,Broad,Video,03/01/2026,1,9,2,1\nSpring,Broad,Video,03/15/2026,1,9,2,1\n"
    path = tmp_path / "r.csv"
    _read(path, HEADER + rows)
    summary = import_files([path], config_id=1, store=None)
    assert (summary.first_day, summary.last_day) == (date(2026, 3, 1), date(2026, 3, 15))
    assert "dates are written month/day/year" in summary.files[0].notes


def test_status_is_taken_from_delivery(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(
        "Campaign name,Campaign delivery,Objective,Day,Amount spent (EUR),Impressions,Link clicks,Leads\n"
        "Spring,inactive,Leads,2026-03-01,1,9,2,1\n"
    )
    _, entities = read_frame(path)
    assert entities[["status", "objective"]].to_numpy().tolist() == [["inactive", "Leads"]]

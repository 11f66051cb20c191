"""Exports as people have them: what once was silently wrong, each with the rows or the refusal that is right."""

import gzip
import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from adsml_common.domain.errors import InvalidInput
from adsml_ingest import Clicks, ImportOptions, ImportSummary, import_files
from adsml_ingest.importer import scratch_store
from adsml_ingest.options import load_profile

REPORT = "Campaign name,Day,Amount spent (EUR),Impressions,Clicks (all),Leads\n"
ADS = "Campaign ID,Ad set ID,Ad ID,Ad name,Day,Amount spent (EUR),Impressions,Clicks (all),Leads\n"
TIDY = "entity_type,entity_id,parent_id,date,spend,impressions,clicks,leads\n"
FLAT = "date_start,date_stop,campaign_id,adset_id,ad_id,spend,impressions,clicks,actions\n"
Files = dict[str, str | bytes]


def row(
    ad: str = "31", *, spend: float = 8, leads: int | None = 2, day: str = "2025-02-03", **more: Any
) -> dict[str, Any]:
    """One row of the Insights API."""
    actions = None if leads is None else [{"action_type": "lead", "value": str(leads)}]
    known = {
        "account_id": "700", "campaign_id": "11", "adset_id": "21", "ad_id": ad, "date_start": day, "date_stop": day,
        "spend": str(spend), "impressions": "500", "clicks": "9", "actions": actions,
    }  # fmt: skip
    return {name: value for name, value in {**known, **more}.items() if value is not None}


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(one) + "\n" for one in rows)


def page(*rows: dict[str, Any], **paging: str) -> str:
    return json.dumps({"data": rows, "paging": paging})


def zipped(files: Files) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


@dataclass(frozen=True)
class Kind:
    """Imports one after the other, and what must come of them.

    Attributes
    ----------
    imports
        Files of each call.
    leads, spend
        By entity, over all days, as stored at the end.
    refused
        What the last call must say if it is refused.
    warns
        What a loaded one must say.
    """

    imports: tuple[Files, ...]
    spend: dict[str, float] = field(default_factory=dict)
    leads: dict[str, float] = field(default_factory=dict)
    refused: str = ""
    warns: str = ""
    options: ImportOptions = field(default_factory=ImportOptions)


ALONE = {"x.jsonl": lines(row())}
KINDS = {
    # 1: totals, and rows that lack what names them
    "a rounded id is a fault, not a total": Kind(
        ({"r.csv": f"{ADS}11,21,31,V,2025-02-03,8,500,9,2\n11,21,1.2E+17,W,2025-02-03,3,90,2,1\n"},),
        refused="line 3: Ad ID '1.2E+17' is an id that lost its last digits",
    ),
    "a blank id beside a name is a fault": Kind(
        ({"r.csv": f"{ADS}11,21,31,V,2025-02-03,8,500,9,2\n11,21,,W,2025-02-03,3,90,2,1\n"},),
        refused="line 3: Ad ID is empty beside the ad name 'W'",
    ),
    "a formula's error is no id": Kind(
        ({"r.csv": f"{ADS}11,21,#REF!,V,2025-02-03,8,500,9,2\n"},), refused="line 2: Ad ID '#REF!' is no id"
    ),
    "a report of one day ends with its total": Kind(
        ({"r.csv": f"{REPORT}A,2025-02-03,8,500,9,2\nB,2025-02-03,3,90,2,1\n,2025-02-03,11,590,11,3\n"},),
        spend={"campaign A": 8, "campaign B": 3},
    ),
    "a total may have a name in any language": Kind(
        ({"r.csv": f"{REPORT}A,2025-02-03,8,500,9,2\nB,2025-02-03,3,90,2,1\nYhteensä,2025-02-03,11,590,11,3\n"},),
        spend={"campaign A": 8, "campaign B": 3},
    ),
    "one blank name is rather lost than a pivot's": Kind(
        ({"r.csv": f"{REPORT}A,2025-02-03,8,500,9,2\n,2025-02-04,7,400,8,1\n"},),
        refused="line 3: Campaign name '' names nothing, and the row is not the total",
    ),
    "a pivot names a group once": Kind(
        ({"r.csv": f"{REPORT}A,2025-02-03,8,500,9,2\n,2025-02-04,7,400,8,1\nB,2025-02-03,3,90,2,1\n"
          ",2025-02-04,2,80,2,0\nTotal,,20,1070,21,4\n"},),
        spend={"campaign A": 15, "campaign B": 5}, leads={"campaign A": 3, "campaign B": 1},
    ),
    "with sums under each group, in a spreadsheet's German": Kind(
        ({"r.csv": "Kampagnenname;Anzeigengruppenname;Tag;Ausgegebener Betrag (EUR);Impressionen;Klicks (alle);Leads\n"
          "A;FI;03.02.2025;8,50;500;9;2\n;;04.02.2025;7,00;400;8;1\n;SE;03.02.2025;1,25;50;1;0\n"
          "A Ergebnis;;;16,75;950;18;3\nB;FI;03.02.2025;3,00;1.090;2;1\nB Ergebnis;;;3,00;1.090;2;1\n"
          "Gesamtergebnis;;;19,75;2.040;20;4\n"},),
        spend={"adset A / FI": 15.5, "adset A / SE": 1.25, "adset B / FI": 3, "campaign A": 16.75},
    ),
    "a pivot by day prints the day once": Kind(
        ({"r.csv": "Day,Campaign name,Amount spent (EUR),Impressions,Clicks (all),Leads\n2025-02-03,A,8,500,9,2\n"
          ",B,3,90,2,1\n2025-02-04,A,7,400,8,1\n,B,2,80,2,0\n"},),
        spend={"campaign A": 15, "campaign B": 5},
    ),
    "the days' totals after a pivot belong to no group": Kind(
        ({"r.csv": f"{REPORT}A,2025-02-03,8,500,9,2\n,2025-02-04,7,400,8,1\n,2025-02-05,6,300,7,1\nB,2025-02-04,3,90,2,1\n"
          ",2025-02-03,8,500,9,2\n,2025-02-04,10,490,10,2\n,2025-02-05,6,300,7,1\n"},),
        spend={"campaign A": 21, "campaign B": 3},
    ),
    "days that go back and forth are no pivot's": Kind(
        ({"r.csv": f"{REPORT}A,2025-02-04,8,500,9,2\n,2025-02-03,7,400,8,1\n,2025-02-05,6,300,7,1\n"},),
        refused="line 3: Campaign name '' names nothing",
    ),
    "names that repeat are no pivot's": Kind(
        ({"r.csv": f"{REPORT}A,2025-02-03,8,500,9,2\n,2025-02-04,7,400,8,1\n,2025-02-05,6,30,7,1\nB,2025-02-03,3,90,2,1\n"
          "B,2025-02-04,3,90,2,1\n"},),
        refused="line 3: Campaign name '' names nothing",
    ),
    "a row without a day is a total of its entity's days, or a fault": Kind(
        ({"r.csv": f"{REPORT}A,2025-02-03,8,500,9,2\nA,2025-02-04,7,400,8,1\nA,,3,90,2,1\n"},),
        refused="line 4: Day is empty, and the row is not the total of the days",
    ),
    "or of more days than are in the file, which is said": Kind(
        ({"r.csv": f"{REPORT}A,2025-02-03,8,500,9,2\nA,,20,1500,30,4\n"},),
        spend={"campaign A": 8}, warns="line 3: Day is empty, and the row sums up more than the days that are in the file",
    ),
    "and a total may have a name in any language": Kind(
        ({"r.csv": f"{REPORT}A,2025-02-03,8,500,9,2\nB,2025-02-03,3,90,2,1\nA,,8,500,9,2\n2 kampanjan tulokset,,11,590,11,3\n"},),
        spend={"campaign A": 8, "campaign B": 3},
    ),
    # 2: breakdowns
    "a total beside a breakdown in one file": Kind(
        ({"x.jsonl": lines(row(impressions="1000", clicks="18"), row(spend=5, age="18-24"), row(spend=3, leads=0, age="25-34"))},),
        spend={"ad 31": 8}, leads={"ad 31": 2},
    ),
    "a total beside its parts is no other entity's": Kind(
        ({"r.csv": "Campaign name,Age,Day,Amount spent (EUR),Impressions,Clicks (all),Leads\n"
          "A,18-24,2025-02-03,5,300,6,1\nA,25-34,2025-02-03,3,200,3,1\nA,All,2025-02-03,8,500,9,2\n"},),
        spend={"campaign A": 8}, leads={"campaign A": 2},
    ),
    "hours without actions lack no field": Kind(
        ({"x.jsonl": lines(*(row(leads=None, hourly_stats_aggregated_by_audience_time_zone=f"0{hour}:00:00 - 0{hour}:59:59")
                             for hour in (1, 2)))},),
        refused="broken down by hourly_stats_aggregated_by_audience_time_zone, under which the leads are not told",
    ),
    "two breakdowns of one day": Kind(
        ({"x.jsonl": lines(
            row(spend=5, age="18-24"), row(spend=3, leads=0, age="25-34"), row(spend=6, country="FI"),
            row(spend=2, leads=0, country="SE"))},),
        spend={"ad 31": 8}, leads={"ad 31": 2},
    ),
    "regions tell no leads of a website": Kind(
        (ALONE, {"r.jsonl": lines(row(spend=5, leads=0, region="Uusimaa"), row(spend=3, leads=0, region="Lappi"))}),
        refused="broken down by region, under which the leads are not told",
    ),
    "and leave those that are stored, if told to": Kind(
        (ALONE, {"r.jsonl": lines(row(spend=5, leads=0, region="Uusimaa"), row(spend=4, leads=0, region="Lappi"))}),
        spend={"ad 31": 9}, leads={"ad 31": 2}, options=ImportOptions(assume_zero=frozenset({"leads"})),
    ),
    "every product's row may carry all leads": Kind(
        ({"p.jsonl": lines(row(product_id="a"), row(product_id="b"))},), refused="broken down by product_id"
    ),
    "a column nobody knows tells rows apart": Kind(
        ({"t.csv": TIDY.replace("\n", ",market\n")
          + "ad,31,21,2025-02-03,8,500,9,2,FI\nad,31,21,2025-02-03,8,500,9,2,SE\n"},),
        refused="told apart by the column 'market'",
    ),
    "the same in JSON without line breaks": Kind(
        ({"x.json": page(row("32"), row(market="FI"), row("33"), row(market="SE"))},),
        refused="told apart by the column 'market'",
    ),
    "two ads of one name are no copies": Kind(
        ({"r.csv": f"{REPORT}A,2025-02-03,8,500,9,2\nA,2025-02-03,8,500,9,2\n"},),
        refused="line 3: campaign A on 2025-02-03 is in line 2 too: two entities of one name",
    ),
    "a row pasted twice is one": Kind(
        ({"r.csv": f"{ADS}11,21,31,V,2025-02-03,8,500,9,2\n11,21,31,V,2025-02-03,8,500,9,2\n"},), spend={"ad 31": 8}
    ),
    # 3: what a file holds is known at its end
    "leads that first appear after thousands of rows": Kind(
        ({"x.jsonl": lines(*(row(str(ad), spend=0, leads=None) for ad in range(1000, 4000)), row(leads=5))},),
        leads={"ad 31": 5, "campaign 11": 5},
    ),
    "ads after their campaigns": Kind(
        ({"x.jsonl": lines(*(row(ad_id=None, adset_id=None, campaign_id=str(c)) for c in range(1000, 3000)), row())},),
        spend={"ad 31": 8, "adset 21": 8},
    ),
    # 4: sums of what is stored
    "pages loaded one by one": Kind(
        (ALONE, {"y.jsonl": lines(row("32", spend=4, leads=1))}), leads={"ad 31": 2, "ad 32": 1, "adset 21": 3}
    ),
    "an ad of which only the campaign is known, page by page": Kind(
        ({"x.jsonl": lines(row(adset_id=None))}, {"y.jsonl": lines(row("32", adset_id=None, leads=1))}),
        leads={"ad 31": 2, "ad 32": 1, "campaign 11": 3},
    ),
    "a stored campaign that its ads contradict": Kind(
        ({"x.jsonl": lines(row(), row(ad_id=None, adset_id=None))}, {"y.jsonl": lines(row(leads=7))}),
        leads={"ad 31": 7, "campaign 11": 2}, warns="does not match what is below it",
    ),
    # 5: what a config is bound to
    "another account": Kind((ALONE, {"y.jsonl": lines(row(account_id="701"))}), refused="of ad account 701"),
    "another currency": Kind(
        ({"x.jsonl": lines(row(account_currency="EUR"))},
         {"y.jsonl": lines(row(account_currency="SEK", day="2025-02-04"))}),
        refused="the money is in SEK, and this config's is in EUR",
    ),
    "names after ids": Kind((ALONE, {"r.csv": f"{REPORT}A,2025-02-03,8,500,9,2\n"}), refused="name entities by names"),
    "link clicks after all clicks": Kind(
        ({"a.csv": f"{REPORT}A,2025-02-03,8,500,9,2\n"},
         {"b.csv": REPORT.replace("Clicks (all)", "Link clicks") + "A,2025-02-04,8,500,4,2\n"}),
        spend={"campaign A": 16}, warns="clicks are link clicks, and those stored so far are all clicks",
    ),
    # 6: ids and stamps
    "ids that a spreadsheet cut to fifteen digits": Kind(
        ({"r.csv": "Campaign ID,Day,Amount spent (EUR),Impressions,Clicks (all),Leads\n"
          + "".join(f"12021234567890{n}000,2025-02-03,8,500,9,2\n" for n in (1, 2, 3))},),
        refused="all 3 ids, such as 120212345678903000, end in zeros",
    ),
    "NULL is no ad": Kind(
        ({"x.csv": f'{FLAT}2025-02-03,2025-02-03,11,21,NULL,8,500,9,"[]"\n'},), spend={"adset 21": 8}
    ),
    "an id kept whole by a formula": Kind(
        ({"r.csv": f'{ADS}11,21,"=""31""",V,2025-02-03,8,500,9,2\n'},), spend={"ad 31": 8}
    ),
    "an older sync imported later": Kind(
        ({"b.jsonl": lines({"_airbyte_extracted_at": "2025-02-05 03:00:00 UTC", "_airbyte_data": row(leads=6)})},
         {"a.jsonl": lines({"_airbyte_extracted_at": "2025-02-04 03:00:00 UTC", "_airbyte_data": row(leads=4)})}),
        leads={"ad 31": 6}, warns="older than what is stored",
    ),
    "a file that is said to be older": Kind(
        (ALONE, {"y.jsonl": lines(row(leads=9), row(day="2025-02-01"))}),
        spend={"ad 31": 8}, leads={"ad 31": 2}, options=ImportOptions(older_file=True),
    ),
    "a stamp nobody can place": Kind(
        ({"x.jsonl": lines({"_airbyte_extracted_at": "05/02/2025 3h", "_airbyte_data": row()})},),
        refused="_airbyte_extracted_at '05/02/2025 3h' is no time",
    ),
    # 7: zero leads
    "actions that look like leads": Kind(
        ({"x.jsonl": lines(row(leads=None, actions=[{"action_type": "onsite_web_lead", "value": "3"}]))},),
        refused="none of a kind that is counted: onsite_web_lead",
    ),
    "a mistyped action": Kind(
        ({"x.jsonl": lines(row())},), refused="has no action laed in any row; it has lead",
        options=ImportOptions(lead_actions=("laed",)),
    ),
    "no lead at all": Kind(
        ({"x.jsonl": lines(row(leads=None, actions=[{"action_type": "link_click", "value": "3"}]))},),
        leads={"ad 31": 0}, warns="has no lead in any row: leads are 0; actions present: link_click",
    ),
    # 8: folders, archives, pages
    "archives within archives": Kind(
        ({"x.zip": zipped({"one.jsonl": lines(row()), "two.jsonl.gz": gzip.compress(lines(row("32")).encode()),
                           "__MACOSX/._one.jsonl": "junk", "notes.md": "x"})},),
        spend={"ad 31": 8, "ad 32": 8, "adset 21": 16},
    ),
    "a page that names a next one": Kind(
        ({"p.json": page(row(), next="https://graph/x?after=a")},), refused="a page that names a next one"
    ),
    "and the page that follows": Kind(
        ({"p2.json": page(row("32"), previous="https://graph/x"), "p1.json": page(row(), next="https://graph/x")},),
        spend={"adset 21": 16},
    ),
    # 9: numbers, languages, mappings
    "decimal signs of a German spreadsheet under English headers": Kind(
        ({"r.csv": REPORT.replace(",", ";") + "A;03.02.2025;1.250;480;9;2\n"},), refused="can be read two ways"
    ),
    "semicolons and decimal commas in a tidy table": Kind(
        ({"t.csv": TIDY.replace(",", ";") + "ad;31;21;2025-02-03;12,5;500;9;2\n"},), refused="pass --decimal ,"
    ),
    "a credit": Kind(
        ({"x.jsonl": lines(row(spend=-1.5))},), refused="spend '-1.5' is negative; a credit that corrects"
    ),
    "a credit, wanted": Kind(
        ({"x.jsonl": lines(row(spend=-1.5))},), spend={"ad 31": -1.5}, options=ImportOptions(allow_negative=True)
    ),
    "Vietnamese headers": Kind(
        ({"r.csv": "Tên chiến dịch;Ngày;Số tiền đã chi tiêu (VND);Lượt hiển thị;Số lần nhấp (tất cả);Khách hàng tiềm năng\n"
          "A;2025-02-03;1.250.000;500;9;2\n"},),
        spend={"campaign A": 1_250_000},
    ),
    "any table by naming its columns": Kind(
        ({"r.csv": "pvm;kulu;nayt;klik;kampanja;liidit\n03.02.2025;8,50;500;9;A;2\n"},), spend={"campaign A": 8.5},
        options=ImportOptions(columns=(("date", "pvm"), ("spend", "kulu"), ("impressions", "nayt"), ("clicks", "klik"),
                                       ("campaign_name", "kampanja"), ("leads", "liidit"))),
    ),
    "a tool's table by its profile": Kind(
        ({"w.csv": "date,campaign_id,ad_id,spend,impressions,clicks,actions_lead\n2025-02-03,11,31,8,500,9,2\n"},),
        leads={"ad 31": 2, "campaign 11": 2}, options=ImportOptions(profile=load_profile("windsor")),
    ),
    "leads in two columns": Kind(
        ({"r.csv": REPORT.replace("Leads", "Meta leads,Website leads") + "A,2025-02-03,8,500,9,2,3\n"},),
        leads={"campaign A": 5}, options=ImportOptions(leads_columns=("Meta leads", "Website leads")),
    ),
    "a file that says less than what is stored may be older": Kind(
        ({"n.jsonl": lines(row(spend=9, leads=6))}, {"o.jsonl": lines(row(spend=8, leads=4))}),
        leads={"ad 31": 4}, warns="1 daily rows now have fewer impressions or leads than were stored",
    ),
    "Stitch says when it batched": Kind(
        ({"x.jsonl": lines(row(spend=9, leads=6, _sdc_batched_at="2025-02-05T03:00:00Z"),
                           row(spend=8, leads=4, _sdc_batched_at="2025-02-04T03:00:00Z"))},),
        spend={"ad 31": 9},
    ),
    "dlt numbers its loads by time": Kind(
        ({"x.jsonl": lines(row(spend=8, leads=4, _dlt_load_id="1738638000.12"),
                           row(spend=9, leads=6, _dlt_load_id="1738724400.5"))},),
        spend={"ad 31": 9},
    ),
    "wanted actions that only conversions hold": Kind(
        ({"x.jsonl": lines(row(actions=[{"action_type": "link_click", "value": "3"}],
                               conversions=[{"action_type": "submit_application_total", "value": "5"}]))},),
        leads={"ad 31": 5}, options=ImportOptions(lead_actions=("submit_application_total",)),
    ),
    "amounts in Arabic digits": Kind(
        ({"r.csv": f"{REPORT}A,2025-02-03,١٬٢٣٤٫٥,٥٠٠,٩,٢\n"},), spend={"campaign A": 1234.5}
    ),
    "amounts with their currency behind them": Kind(
        ({"r.csv": REPORT.replace(",", ";") + "A;2025-02-03;1 234,50 kr;500;9;2\nB;2025-02-03;SEK 3,50;90;2;1\n"},),
        spend={"campaign A": 1234.5, "campaign B": 3.5},
    ),
    "a credit as accountants write it": Kind(
        ({"r.csv": f"{REPORT}A,2025-02-03,8.00,500,9,2\nA,2025-02-04,(1.50),0,0,0\n"},),
        spend={"campaign A": 6.5}, options=ImportOptions(allow_negative=True),
    ),
    "an open workbook's lock in an archive": Kind(
        ({"e.zip": zipped({"r.csv": f"{REPORT}A,2025-02-03,8,500,9,2\n", "~$r.xlsx": b"\x05me"})},), spend={"campaign A": 8}
    ),
    "a download that did not end": Kind(
        ({"e.zip": zipped({"r.csv": f"{REPORT}A,2025-02-03,8,500,9,2\n", "s.csv.crdownload": f"{REPORT}A,2025-02-03,8,50"})},),
        spend={"campaign A": 8},
    ),
    "an archive within gzip": Kind(
        ({"e.tar.gz": gzip.compress(b"x" + b"\0" * 256 + b"ustar" + b"\0" * 300)},), refused="is a tar archive; unpack it"
    ),
    "a data set whose days are in its folders' names": Kind(
        ({"date=2025-02-03/part-0": TIDY.replace("date,", "") + "ad,31,21,8,500,9,2\n",
          "date=2025-02-04/part-0": TIDY.replace("date,", "") + "ad,31,21,3,90,2,1\n"},),
        spend={"ad 31": 11},
    ),
    "a warehouse's days without hyphens": Kind(
        ({"r.csv": f"{REPORT}A,20250203,8,500,9,2\n"},), spend={"campaign A": 8}
    ),
    "a spreadsheet's numbers of days": Kind(
        ({"r.csv": f"{REPORT}A,45691,8,500,9,2\n"},), refused="Day '45691' is not a date; a spreadsheet's number of a day"
    ),
    "ids as Ads Manager exports them for editing": Kind(
        ({"r.csv": f"{ADS}cg:11,c:21,a:31,V,2025-02-03,8,500,9,2\n"},), spend={"ad 31": 8}
    ),
    "spend is blank where there were impressions": Kind(
        ({"x.jsonl": lines(row(spend=8), {**row("32"), "spend": None})},),
        spend={"ad 32": 0}, warns="spend is blank beside 500 impressions; loaded as 0",
    ),
    "a tool's JSON by its profile": Kind(
        ({"w.json": json.dumps({"data": [{"date": "2025-02-03", "campaign_id": "11", "spend": 8, "impressions": 500,
                                          "clicks": 9, "actions_lead": 2}]})},),
        spend={"campaign 11": 8}, leads={"campaign 11": 2}, options=ImportOptions(profile=load_profile("windsor")),
    ),
    # 11: other tools
    "a Singer tap's messages": Kind(
        ({"t.jsonl": lines({"type": "SCHEMA", "stream": "x"}, {"type": "RECORD", "stream": "x", "record": row()})},),
        spend={"ad 31": 8},
    ),
    "dlt's table and the child that holds its actions": Kind(
        ({"i.csv": "campaign_id,adset_id,ad_id,date_start,date_stop,impressions,clicks,spend,_dlt_id\n"
          "11,21,31,2025-02-03,2025-02-03,500,9,8,k\n",
          "i__actions.csv": "action_type,value,_dlt_parent_id\nlead,2,k\nlink_click,7,k\n"},),
        leads={"ad 31": 2},
    ),
    "dlt's other child tables are no counts": Kind(
        ({"i.csv": "campaign_id,adset_id,ad_id,date_start,date_stop,impressions,clicks,spend,_dlt_id\n"
          "11,21,31,2025-02-03,2025-02-03,500,9,8,k\n",
          "i__action_values.csv": "action_type,value,_dlt_parent_id\nlead,90.5,k\n",
          "i__cost_per_action_type.csv": "action_type,value,_dlt_parent_id\nlead,4,k\n",
          "i__actions.csv": "action_type,value,_dlt_parent_id\nlead,2,k\n"},),
        leads={"ad 31": 2},
    ),
    "and are not taken for them": Kind(
        ({"i.csv": "campaign_id,adset_id,ad_id,date_start,date_stop,impressions,clicks,spend,_dlt_id\n"
          "11,21,31,2025-02-03,2025-02-03,500,9,8,k\n",
          "i__action_values.csv": "action_type,value,_dlt_parent_id\nlead,90.5,k\n"},),
        refused="has clicks but no actions in any row",
    ),
    "the answers to a batch of calls": Kind(
        ({"b.json": json.dumps([{"code": 200, "body": page(row())}, {"code": 200, "body": page(row("32", spend=3))}])},),
        spend={"ad 31": 8, "ad 32": 3},
    ),
    "one of them an error": Kind(
        ({"b.json": json.dumps([{"code": 200, "body": page(row())},
                                {"code": 400, "body": json.dumps({"error": {"message": "(#17) limit reached"}})}])},),
        refused="is an error answer of the API: (#17) limit reached",
    ),
    "insights nested in their ads": Kind(
        ({"x.json": json.dumps({"data": [{"id": "31", "insights": {"data": [row()]}}]})},), spend={"ad 31": 8}
    ),
    "a table of names beside the rows": Kind(
        ({"ads.jsonl": lines({"id": "31", "name": "V"}), "x.jsonl": lines(row())},), spend={"ad 31": 8}
    ),
    "rows of another kind of clicks in one file": Kind(
        ({"x.jsonl": lines(row(), row("32", clicks=None, inline_link_clicks="3"))},), refused="two kinds of clicks"
    ),
    "link clicks, wanted": Kind(
        ({"x.jsonl": lines(row(inline_link_clicks="3"))},), spend={"ad 31": 8}, options=ImportOptions(clicks=Clicks.LINK)
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_kind(kind: str, tmp_path: Path) -> None:
    case = KINDS[kind]
    with scratch_store() as (store, _):
        summary: ImportSummary | None = None
        for number, files in enumerate(case.imports):
            paths = [_write(tmp_path / str(number) / name, content) for name, content in files.items()]
            last = number == len(case.imports) - 1
            if last and case.refused:
                before = store.daily(1)
                with pytest.raises(InvalidInput) as refused:
                    import_files(paths, config_id=1, store=store, options=case.options)
                said = [f"{one.path}: {one.description}" for one in refused.value.violations]
                assert any(case.refused in text for text in said), said
                assert store.daily(1).equals(before)
                return
            summary = import_files(paths, config_id=1, store=store, options=case.options)
        stored = _totals(store)
    for name, values in (("spend", case.spend), ("leads", case.leads)):
        assert {entity: stored.get(entity, {}).get(name) for entity in values} == values
    if case.spend and not any(text.startswith("adset") for text in case.spend):
        level = next(iter(case.spend)).split()[0]
        assert {entity for entity in stored if entity.startswith(f"{level} ")} >= set(case.spend)
    if case.warns:
        assert summary is not None
        assert any(case.warns in text for text in summary.warnings), summary.warnings


def _write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _totals(store: Any) -> dict[str, dict[str, float]]:
    """Spend and leads by entity as they are stored; on the day that all cases share, if there are several."""
    import sqlalchemy as sa

    query = sa.text(
        "SELECT entity_type || ' ' || entity_id AS entity, sum(spend) AS spend, sum(leads) AS leads FROM daily_metrics "
        "JOIN entities USING (entity_key) WHERE date <> '2025-02-01' GROUP BY 1"
    )
    with store._database.read() as connection:
        return {one.entity: {"spend": one.spend, "leads": one.leads} for one in connection.execute(query)}

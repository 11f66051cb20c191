"""`adsml simulate`: an account with known truth, as an export or in the store."""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from adsml_common.cli.output import JsonOption, console, errors, print_json, table
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput

if TYPE_CHECKING:
    from adsml_simulate import SimulatedAccount


class Preset(StrEnum):
    """Ready-made accounts."""

    DEMO = "demo"
    CLEAN = "clean"


class Destination(StrEnum):
    """Where the account goes."""

    INSIGHTS = "insights"
    CSV = "csv"
    STORE = "store"


def simulate(
    out: Annotated[
        Path | None, typer.Argument(help="New folder for the export.", show_default=False)
    ] = None,
    preset: Annotated[
        Preset, typer.Option(help="demo: a lively account; clean: nothing happens.")
    ] = Preset.DEMO,
    destination: Annotated[
        Destination,
        typer.Option("--format", help="Insights API pages, a tidy CSV, or straight into the store."),
    ] = Destination.INSIGHTS,
    config_id: Annotated[int, typer.Option(help="The ad account's id.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same account.", min=0)] = 1,
    days: Annotated[int, typer.Option(help="Length in days.", min=35, max=2000)] = 120,
    last_day: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Last day.  [default: yesterday]", show_default=False),
    ] = None,
    anomalies: Annotated[
        float, typer.Option(help="Injected faults per ad set and 30 days.", min=0.0, max=10.0)
    ] = 0.0,
    truth: Annotated[bool, typer.Option("--truth", help="Also write the truth as CSV files.")] = False,
    json_output: JsonOption = False,
) -> None:  # fmt: skip
    """Simulate a whole ad account with known truth.

    Example: adsml simulate my-account --seed 7 --anomalies 0.5
    """
    from adsml_simulate import AnomalyKind, inject_anomalies, presets, simulate_account  # noqa: PLC0415

    stored = destination is Destination.STORE
    if not stored and out is None:
        raise InvalidInput.at("out", "is missing; name a new folder for the export, or pass --format store")
    if stored and out is not None and not truth:
        raise InvalidInput.at("out", "is not used with --format store; leave it out, or pass --truth")
    if truth and out is None:
        raise InvalidInput.at("out", "is missing; --truth needs a folder to write to")
    make = presets.demo if preset is Preset.DEMO else presets.clean
    last = last_day.date() if last_day else presets.yesterday()
    account = simulate_account(make(last_day=last, config_id=config_id, days=days), seed=seed)
    if preset is Preset.DEMO:
        account = presets.with_clear_changes(account)
    if anomalies > 0:
        account = inject_anomalies(
            account, list(AnomalyKind), rate=anomalies, seed=seed, entity_type=EntityType.ADSET,
            earliest_day=days // 2,
        )  # fmt: skip
    written = _store(account) if stored or out is None else _export(account, out, destination)
    if truth and out is not None:
        from adsml_simulate.export import write_truth  # noqa: PLC0415

        written["truth"] = [str(path) for path in write_truth(account, out)]
    _show(account, written, json_output=json_output)


def _export(account: "SimulatedAccount", out: Path, destination: Destination) -> dict[str, Any]:
    from adsml_simulate.export import ExportFormat, write_export  # noqa: PLC0415

    with errors.status("writing", spinner="line"):
        written = write_export(account, out, export_format=ExportFormat(destination.value))
    return {"folder": str(out), "files": len(written.files), "rows": written.rows}


def _store(account: "SimulatedAccount") -> dict[str, Any]:
    from adsml_common.cli.context import open_database, settings  # noqa: PLC0415

    from adsml_simulate.storing import write_to_store  # noqa: PLC0415

    with open_database(settings(), create=True) as database:
        counts = write_to_store(account, database)
    names = ("inserted", "updated", "unchanged")
    return {what: {name: getattr(one, name) for name in names} for what, one in counts.items()}


def _show(account: "SimulatedAccount", written: dict[str, Any], *, json_output: bool) -> None:
    chosen, tree = account.settings, account.tree
    campaigns = account.daily[account.daily["entity_type"] == EntityType.CAMPAIGN.value]
    spend, leads = float(campaigns["spend"].sum()), int(campaigns["leads"].sum())
    facts: dict[str, Any] = {
        "config_id": chosen.config_id,
        "seed": account.seed,
        "first_day": chosen.first_day,
        "last_day": chosen.last_day,
        "campaigns": len(tree.campaign_ids),
        "adsets": len(tree.adset_ids),
        "ads": len(tree.ad_ids),
        "spend": round(spend, 2),
        "currency": chosen.currency,
        "leads": leads,
        "cpl": round(spend / leads, 2) if leads else None,
        "changes": len(account.changes),
        "anomalies": int(account.anomalies["incident"].nunique()),
    }
    if json_output:
        print_json({**facts, "written": written})
        return

    def plain(value: object) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{number} {name}" for name, number in value.items())
        return "\n".join(value) if isinstance(value, list) else str(value)

    table(f"{chosen.name} (simulated)", ("what", "value"), list(facts.items()), right=("value",))
    table("written", ("what", "value"), [(name, plain(value)) for name, value in written.items()])
    if "folder" in written:
        folder = Path(written["folder"])
        data = folder / ("insights" if (folder / "insights").is_dir() else "daily.csv")
        console.print(f"next: adsml import {data} --config-id {chosen.config_id}", soft_wrap=True)

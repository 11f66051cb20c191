"""What a marketer asks the four services, and the answers in plain words."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from adsml_client import Change, EntityRef
from adsml_client.anomaly import AnomalyClient
from adsml_client.anomaly import Options as DetectionOptions
from adsml_client.classifier import Classification, ClassifierClient
from adsml_client.errors import CallError
from adsml_client.forecasting import BacktestReport, Forecast, ForecastingClient
from adsml_client.forecasting import Options as ForecastOptions
from adsml_client.impact import ImpactClient, Panel, Report
from adsml_client.registry import RegistryClient
from adsml_client.training import TrainingClient
from counted import Counted
from rich.console import Console
from rich.progress import Progress

TIERS = ("high_performer", "moderate", "low", "underperformer")
PERSON = "demo"


@dataclass(frozen=True)
class Account:
    """What the questions are about.

    Attributes
    ----------
    names
        Of every entity.
    campaigns, adsets
        By what they spent, the biggest first.
    newest
        The ad with the fewest days.
    changes
        Edits to ad sets, oldest first.
    last_day
        The last one stored.
    """

    names: dict[EntityRef, str]
    campaigns: list[EntityRef]
    adsets: list[EntityRef]
    newest: EntityRef
    changes: list[tuple[EntityRef, Change]]
    last_day: dt.date

    def name(self, ref: EntityRef) -> str:
        """Its name, or its id."""
        return self.names.get(ref) or ref.entity_id


class Teller:
    """Prints answers: a heading, lines, and finer print."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def head(self, text: str) -> None:
        """A question."""
        self.console.print(f"\n[bold]{text}[/]")

    def line(self, text: str, *, indent: int = 2) -> None:
        """An answer."""
        self.console.print(" " * indent + text, highlight=False, markup=False)


def tiers(account: Account, connection: Counted, tell: Teller) -> None:
    """Best and worst ad sets and why; a new ad; a person's word."""
    client = ClassifierClient(connection)
    answers = client.classify_entities(account.adsets, max_contributions=2).answers()
    answers.sort(key=lambda one: (TIERS.index(one.tier), -(one.confidence or 0.0)))
    tell.head("Which ad sets will do well over the next 7 days, and which badly?")
    shown = [*answers[:3], *answers[-3:]] if len(answers) > 6 else answers
    for one in shown:
        _tier(account, one, tell)
    if answers and answers[0].answered_by.model is not None:
        model = answers[0].answered_by.model
        tell.line(f"answered by {model.name} version {model.version}")
    new, transfer = client.classify_new_entity(account.newest)
    tell.head(f"And the newest ad, {account.name(account.newest)}?")
    sure = "" if new.confidence is None else f", {new.confidence:.0%} sure"
    days = "" if transfer is None else f" (its own {transfer.own_days} days, judged by the account's model)"
    tell.line(f"{_words(new.tier)}{sure}{days}")
    ref = answers[0].entity if answers and answers[0].entity else account.adsets[0]
    told = client.record_feedback(
        ref, account.last_day - dt.timedelta(days=7), "high_performer", person=PERSON
    )
    tell.line(
        f"your own word counts: {account.name(ref)} was noted as high performer ({_changed(told.changed)})"
    )


def _tier(account: Account, one: Classification, tell: Teller) -> None:
    cpl, account_cpl = one.metrics["cpl"], one.metrics["account_cpl"]
    cost = "no leads" if cpl is None else f"CPL {cpl:.2f} in the last 7 days"
    against = "" if cpl is None or account_cpl is None else f" (account {account_cpl:.2f})"
    sure = "" if one.confidence is None else f", {one.confidence:.0%} sure"
    name = account.name(one.entity) if one.entity else ""
    tell.line(f"{name}: {_words(one.tier)}{sure}; {cost}{against}")
    for reason in one.contributions:
        tell.line(f"because {reason.explanation}", indent=6)


def forecasts(account: Account, connection: Counted, tell: Teller) -> None:
    """Next week's leads and cost per lead, and how good such forecasts were."""
    client = ForecastingClient(connection)
    tell.head("What will next week bring?")
    week = ForecastOptions(horizon_days=7)
    for campaign in account.campaigns[:2]:
        leads = client.forecast_ensemble(campaign, "leads", options=week)
        cpl = client.forecast_ensemble(campaign, "cpl", options=week)
        tell.line(f"{account.name(campaign)}: leads {_total(leads, 0)}, CPL {_total(cpl, 2)}")
    prophet = client.forecast(account.campaigns[0], "leads", method="prophet", options=week)
    tell.line(f"Prophet alone for {account.name(account.campaigns[0])}: leads {_total(prophet, 0)}")
    items = [(one, "cpl") for one in account.adsets[:5]]
    tell.line("the ad sets that spend most:")
    for (ref, _), found in zip(items, client.batch_forecast(items, options=week), strict=True):
        said = str(found) if isinstance(found, CallError) else f"CPL {_total(found, 2)}"
        tell.line(f"{account.name(ref)}: {said}", indent=6)
    new = client.forecast_new_entity(account.newest, "leads", options=week)
    tell.line(f"the newest ad, from its ad set and siblings: leads {_total(new, 0)}")
    tell.head("How good were such forecasts in the past?")
    methods = ("seasonal_naive", "linear", "ema", "auto_ets")
    with Progress(console=tell.console, transient=True) as bar:
        task = bar.add_task("forecasting the past", total=None)
        for said in client.backtest(account.campaigns, "leads", methods=methods, horizon_days=7, cutoffs=3):
            if isinstance(said, BacktestReport):
                report = said
            else:
                bar.update(task, completed=said.done, total=said.total)
    for scores in sorted(report.methods, key=lambda one: one.wmape if one.wmape is not None else 1e9):
        wmape = "" if scores.wmape is None else f"off by {scores.wmape:.1f}% of all leads"
        tell.line(f"{_words(scores.method)}: {wmape}")


def alarms(account: Account, connection: Counted, tell: Teller) -> None:
    """Yesterday's alarms, and a look at one ad set's last month."""
    client = AnomalyClient(connection)
    tell.head(f"Was anything odd yesterday ({account.last_day})?")
    everything = account.campaigns + account.adsets
    found = client.batch_detect_anomalies(everything).answers()
    odd = [(one.entity, day) for one in found for day in one.anomalies()]
    for ref, day in odd:
        tell.line(f"{account.name(ref)} ({ref.entity_type}): {day.severity}: {day.summary}")
    if not odd:
        tell.line(f"nothing: {len(found)} campaigns and ad sets were looked at")
    month = DetectionOptions(first_date=account.last_day - dt.timedelta(days=29), last_date=account.last_day)
    reports = client.batch_detect_anomalies(account.adsets, options=month).answers()
    worst = max(reports, key=lambda one: len(one.anomalies()))
    one = client.detect_anomalies(worst.entity, options=month)
    tell.line(f"most alarms of the last 30 days: {account.name(worst.entity)}")
    for day in one.anomalies()[-3:]:
        tell.line(f"{day.date}: {day.summary}", indent=6)
    judged = one.anomalies()[-1].date if one.anomalies() else account.last_day
    verdict = "true_alarm" if one.anomalies() else "missed_alarm"
    changed = client.record_feedback(worst.entity, judged, verdict, person=PERSON)
    tell.line(
        f"your own word counts: judged a {_words(verdict)} ({_changed(changed)}); it moves the threshold"
    )


def changes(account: Account, connection: Counted, tell: Teller) -> None:
    """Whether edits worked, and what a planned one could show."""
    client = ImpactClient(connection)
    tell.head("Did the changes work?")
    budgets = [one for one in account.changes if one[1].change_type == "budget_change"] or account.changes
    if not budgets:
        tell.line("no change is far enough in the past")
        return
    ref, change = budgets[-1]
    tell.line(f"the last budget change with a week behind it: {_change(account, ref, change)}")
    try:
        _verdict(client.analyze_impact(Panel([ref]), change), tell)
    except CallError as error:
        tell.line(str(error), indent=6)
    others = [(Panel([one]), two) for one, two in account.changes]
    tell.line("and all changes:")
    for (one, two), answer in zip(account.changes, client.batch_analyze_impact(others), strict=True):
        tell.line(_change(account, one, two), indent=4)
        if isinstance(answer, CallError):
            tell.line(str(answer), indent=6)
        else:
            _verdict(answer, tell, advise=False)
    planned = Change(account.last_day + dt.timedelta(days=1), "budget_change", 100.0, 130.0)
    biggest = account.adsets[0]
    effects = client.estimate_detectable_effect(Panel([biggest]), planned, target_percent=20)
    tell.head(f"If you change the budget of {account.name(biggest)} tomorrow: what could 7 days show?")
    for one in effects[:2]:
        shown = "nothing short of doubling" if one.percent is None else f"{abs(one.percent):.0f}% or more"
        need = "more than 90" if one.days_needed is None else str(one.days_needed)
        tell.line(f"{one.metric}: {shown}; to see 20% takes {need} days")


def _verdict(report: Report, tell: Teller, *, advise: bool = True) -> None:
    effect = next((one for one in report.effects if one.metric == report.primary_metric), None)
    moved = ""
    if effect is not None and effect.percent is not None and effect.percent_interval is not None:
        between = effect.percent_interval
        moved = f": {effect.metric} {effect.percent:+.0f}% ({between.lower:+.0f}% to {between.upper:+.0f}%)"
    tell.line(f"{report.verdict.upper()}{moved}", indent=6)
    if advise:
        tell.line(report.recommendation, indent=6)


def models(connection: Counted, family: str, config_id: int, tell: Teller) -> None:
    """Which models answer, since when, and the way back."""
    client = RegistryClient(connection)
    active = list(client.list_models(config_id=config_id, status="active"))
    if not active:
        tell.line(f"{family}: trains nothing; asks its method of the data at hand")
        for ask in (
            lambda: client.get_model(f"{family}/{config_id}"),
            lambda: client.activate(f"{family}/{config_id}", 1, reason="demo"),
        ):
            _expected(ask)
        return
    model = client.get_model(active[0].name)
    client.activate(model.name, model.version, reason="the one that is active already: nothing changes")
    back = _expected(
        lambda: client.rollback(model.name, reason="demo", expected_active_version=model.version)
    )
    if back == "yes":
        client.activate(model.name, model.version, reason="the demo only shows the way back")
    last = next(islice(client.events(model.name), 1))
    tell.line(
        f"{family}: {len(active)} active models, such as {model.name} version {model.version} on "
        f"{model.samples_count} samples, {last.event_type} by {last.actor.split(' ')[0]}"
        + (f"; rolled back: {back}" if back else "")
    )


def training(connection: Counted, job: str, config_id: int, tell: Teller) -> None:
    """Start a training over gRPC, look at it, and call it off."""
    client = TrainingClient(connection)
    run = client.start(job, config_ids=[config_id], reason="demo")
    listed = len(list(client.list(job=job)))
    run = client.cancel(run.run_id, reason="the demo only shows how")
    run, _ = client.get(run.run_id)
    tell.line(
        f"training {_words(job)}: run {run.run_id[:8]} of {listed} started over gRPC and called off ({run.state})"
    )


def _expected(ask: Callable[[], object]) -> str:
    """What the service says; being refused is an answer too."""
    try:
        ask()
    except CallError as error:
        return f"no, {error.message}"
    return "yes"


def _total(found: Forecast, digits: int) -> str:
    if found.total is None:
        return "not known"
    between = found.total_interval
    ranged = "" if between is None else f" ({max(between.lower, 0):.{digits}f} to {between.upper:.{digits}f})"
    return f"{found.total:.{digits}f}{ranged}"


def _change(account: Account, ref: EntityRef, change: Change) -> str:
    before, after = change.value_before, change.value_after
    amounts = f" from {before:.0f} to {after:.0f}" if before is not None and after is not None else ""
    return f"{_words(change.change_type)}{amounts} of {account.name(ref)} on {change.date}"


def _changed(changed: bool) -> str:
    return "new" if changed else "on record already"


def _words(name: str) -> str:
    return name.replace("_", " ")


def ranked(refs: Sequence[EntityRef], spent: dict[EntityRef, float]) -> list[EntityRef]:
    """Those that spent, the biggest first."""
    return sorted((one for one in refs if spent.get(one, 0.0) > 0), key=lambda one: -spent[one])

"""What a marketer asks the four services, and the answers in plain words."""

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from adsml.anomaly.v1 import anomaly_service_pb2 as anomaly_pb
from adsml.classifier.v1 import classifier_service_pb2 as classifier_pb
from adsml.common.v1 import change_pb2, entity_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting_pb
from adsml.impact.v1 import impact_service_pb2 as impact_pb
from adsml_client import (
    AnomalyClient,
    CallError,
    ClassifierClient,
    Connection,
    ForecastingClient,
    ImpactClient,
    ModelRegistryClient,
    TrainingClient,
    change_event,
    day,
    entity_ref,
    results,
    word,
)
from adsml_common.domain.entities import EntityRef
from rich.console import Console
from rich.progress import Progress

TIERS = ("high_performer", "moderate", "low", "underperformer")
PERSON = "demo"


@dataclass(frozen=True)
class Change:
    """An edit that is on record, in the contract's form, and of what."""

    entity: EntityRef
    event: change_pb2.ChangeEvent


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

    config_id: int
    names: dict[EntityRef, str]
    campaigns: list[EntityRef]
    adsets: list[EntityRef]
    newest: EntityRef
    changes: list[Change]
    last_day: dt.date

    def name(self, ref: EntityRef) -> str:
        """Its name, or its id."""
        return self.names.get(ref) or ref.entity_id


class Printer:
    """Prints answers: a heading, lines, and finer print."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def head(self, text: str) -> None:
        """A question."""
        self.console.print(f"\n[bold]{text}[/]")

    def line(self, text: str, *, indent: int = 2) -> None:
        """An answer."""
        self.console.print(" " * indent + text, highlight=False, markup=False)


def message_of(ref: EntityRef) -> entity_pb2.EntityRef:
    """The contract's key of an entity."""
    return entity_ref(ref.config_id, ref.entity_type.value, ref.entity_id)


def tiers(account: Account, connection: Connection, out: Printer) -> None:
    """Best and worst ad sets and why; a new ad; a person's judgement."""
    client = ClassifierClient(connection)
    response = client.batch_classify(subjects=[message_of(one) for one in account.adsets])
    answers = [
        (ref, answer)
        for ref, answer in zip(account.adsets, results(response), strict=True)
        if not isinstance(answer, CallError)
    ]
    answers.sort(key=lambda one: (TIERS.index(word(one[1], "tier")), -one[1].confidence))
    out.head("Which ad sets will do well over the next 7 days, and which badly?")
    for ref, answer in [*answers[:3], *answers[-3:]] if len(answers) > 6 else answers:
        _tier(account.name(ref), answer, out)
    best, _ = answers[0]
    answered_by = client.classify(subject=message_of(best)).classification.answered_by
    out.line(f"answered by {_source(answered_by.model) or answered_by.method}")
    new = client.classify_new_entity(subject=message_of(account.newest))
    out.head(f"And the newest ad, {account.name(account.newest)}?")
    own = (
        f" (its own {new.transfer.own_days} days, by the account's model)" if new.HasField("transfer") else ""
    )
    out.line(f"{_words(word(new.classification, 'tier'))}{_sure(new.classification)}{own}")
    recorded = client.record_feedback(
        feedback={
            "entity": message_of(best),
            "date": account.last_day - dt.timedelta(days=7),
            "person": PERSON,
        },
        tier="high_performer",
    )
    out.line(
        f"your judgement counts: {account.name(best)} is noted as a high performer ({_new(recorded.receipt.changed)})"
    )


def _tier(name: str, answer: classifier_pb.Classification, out: Printer) -> None:
    cpl = (
        "no leads"
        if not answer.metrics.HasField("cpl")
        else f"CPL {answer.metrics.cpl:.2f} in the last 7 days"
    )
    compared = (
        f" (account {answer.metrics.account_cpl:.2f})" if answer.metrics.HasField("account_cpl") else ""
    )
    out.line(f"{name}: {_words(word(answer, 'tier'))}{_sure(answer)}; {cpl}{compared}")
    for reason in answer.reasons[:2]:
        out.line(f"{'because' if reason.supports else 'although'} {reason.text}", indent=6)


def _sure(answer: classifier_pb.Classification) -> str:
    return f", {answer.confidence:.0%} sure" if answer.HasField("confidence") else ""


def forecasts(account: Account, connection: Connection, out: Printer) -> None:
    """Next week's leads and cost per lead, and how good such forecasts were."""
    client = ForecastingClient(connection)
    out.head("What will next week bring?")
    week = {"horizon_days": 7}
    for campaign in account.campaigns[:2]:
        subject = message_of(campaign)
        leads = client.forecast_ensemble(subject=subject, metric="leads", options=week).forecast
        cpl = client.forecast_ensemble(subject=subject, metric="cpl", options=week).forecast
        out.line(f"{account.name(campaign)}: leads {_total(leads, 0)}, CPL {_total(cpl, 2)}")
    biggest = account.campaigns[0]
    prophet = client.forecast(
        subject=message_of(biggest), metric="leads", method="prophet", options=week
    ).forecast
    out.line(f"Prophet alone for {account.name(biggest)}: leads {_total(prophet, 0)}")
    refs = account.adsets[:5]
    items = [{"subject": message_of(one), "metric": "cpl"} for one in refs]
    out.line("the ad sets that spend most:")
    for ref, answer in zip(refs, results(client.batch_forecast(items=items, options=week)), strict=True):
        shown = str(answer) if isinstance(answer, CallError) else f"CPL {_total(answer, 2)}"
        out.line(f"{account.name(ref)}: {shown}", indent=6)
    new = client.forecast_new_entity(
        subject=message_of(account.newest), metric="leads", options=week
    ).forecast
    out.line(f"the newest ad, from its ad set and siblings: leads {_total(new, 0)}")
    out.head("How good were such forecasts in the past?")
    with Progress(console=out.console, transient=True) as bar:
        task = bar.add_task("forecasting the past", total=None)
        for event in client.backtest(
            subjects=[message_of(one) for one in account.campaigns],
            metric="leads",
            methods=["seasonal_naive", "linear", "ema", "auto_ets"],
            horizon_days=7,
            cutoffs=3,
        ):
            bar.update(task, completed=event.progress.done, total=event.progress.total or None)
    for scores in event.report.methods:
        out.line(f"{_words(word(scores, 'method'))}: off by {scores.wmape.value:.1%} of all leads")


def alarms(account: Account, connection: Connection, out: Printer) -> None:
    """What goes on, by the nightly scan; yesterday's alarms; a look at one ad set's last month."""
    client = AnomalyClient(connection)
    out.head("What is wrong right now, and what does it cost?")
    listed = client.list_incidents(config_id=account.config_id, state="open")
    for stored in listed.incidents[:3]:
        _incident(stored.incident, listed.currency_code, account, out)
    if not listed.incidents:
        out.line("nothing is open")
    fortnight = client.detect_account_anomalies(config_id=account.config_id)
    over = sum(word(one, "state") == "resolved" for one in fortnight.incidents)
    out.line(
        f"in the last 14 days: {len(fortnight.incidents)} incidents among {fortnight.assessed_count} entities, "
        f"{over} of them over"
    )
    every = [*account.campaigns, *account.adsets]
    response = client.batch_detect_anomalies(subjects=[message_of(one) for one in every])
    reports = [one for one in results(response) if not isinstance(one, CallError)]
    odd = [(report, one) for report in reports for one in report.days if one.anomalous]
    out.line(f"{len(odd)} of {len(reports)} campaigns and ad sets were odd yesterday ({account.last_day})")
    for report, one in odd[:5]:
        out.line(f"{_named(account, report.entity)}: {word(one, 'severity')}: {one.summary}", indent=6)
    month = {
        "first_date": account.last_day - dt.timedelta(days=29),
        "as_of_date": account.last_day,
        "anomalous_only": True,
    }
    ref, report = max(
        (
            (one, client.detect_anomalies(subject=message_of(one), options=month).report)
            for one in account.adsets[:5]
        ),
        key=lambda one: len(one[1].days),
    )
    out.line(f"most alarms of the last 30 days: {account.name(ref)}")
    for one in report.days[-3:]:
        out.line(f"{day(one.date)}: {one.summary}", indent=6)
    judged = day(report.days[-1].date) if report.days else account.last_day
    judgement = "true_alarm" if report.days else "missed_alarm"
    recorded = client.record_feedback(
        feedback={"entity": message_of(ref), "date": judged, "person": PERSON}, judgement=judgement
    )
    out.line(
        f"your judgement counts: a {_words(judgement)} ({_new(recorded.receipt.changed)}); it moves the threshold"
    )


def _incident(incident: anomaly_pb.Incident, currency: str, account: Account, out: Printer) -> None:
    about = _named(account, incident.entity) if incident.HasField("entity") else "the whole account"
    stake = ""
    if incident.HasField("money_at_stake_per_day"):
        stake = f"; {_money(incident.money_at_stake_per_day, currency)} at stake a day"
    out.line(f"{about}, since {day(incident.first_date)}: {incident.summary}{stake}")


def changes(account: Account, connection: Connection, out: Printer) -> None:
    """Whether edits worked, what edits of one kind do here, and what a planned one could show."""
    client = ImpactClient(connection)
    out.head("Did the changes work?")
    items = [
        {"panel": {"stored": {"treated": [message_of(one.entity)]}}, "change": one.event}
        for one in account.changes
    ]
    answers = results(client.batch_analyze_impact(items=items, options={"omit_series": True}))
    for change, answer in zip(account.changes, answers, strict=True):
        out.line(_described(account, change))
        if isinstance(answer, CallError):
            out.line(str(answer), indent=6)
        else:
            _verdict(answer, out)
    if account.changes:
        latest = account.changes[-1]
        response = client.analyze_impact(
            panel={"stored": {"treated": [message_of(latest.entity)]}}, change=latest.event
        )
        out.line(f"the newest of them: {response.report.recommendation}")
    _kinds(account, client, out)
    tomorrow = account.last_day + dt.timedelta(days=1)
    biggest = account.adsets[0]
    effects = client.estimate_detectable_effect(
        panel={"stored": {"treated": [message_of(biggest)]}},
        change=change_event(tomorrow, "budget_change", value_before=100.0, value_after=130.0),
        target_relative=-0.2,
    ).effects
    out.head(f"If you change the budget of {account.name(biggest)} tomorrow: what could 7 days show?")
    for one in effects[:2]:
        shown = f"a fall of {-one.relative_down:.0%}" if one.HasField("relative_down") else "no fall"
        need = str(one.days_needed) if one.HasField("days_needed") else "more than 90"
        out.line(f"{word(one, 'metric')}: {shown} or more; to see a fall of 20% takes {need} days")


def _kinds(account: Account, client: ImpactClient, out: Printer) -> None:
    """What the account's changes of each kind do, taken together."""
    out.head("And what do such changes do in this account, taken together?")
    for kind in sorted({word(one.event, "change_type") for one in account.changes}):
        try:
            summary = client.summarize_changes(config_ids=[account.config_id], change_type=kind)
        except CallError as error:
            out.line(f"{_words(kind)}: {error.message}")
            continue
        if not summary.HasField("pooled"):
            out.line(f"{_words(kind)}: {summary.recommendation}")
            continue
        pooled, metric = summary.pooled, word(summary, "primary_metric")
        out.line(
            f"{_words(kind)}: {word(summary, 'verdict').upper()}: {metric} {pooled.relative:+.0%} "
            f"({pooled.interval.lower:+.0%} to {pooled.interval.upper:+.0%}) over {pooled.changes} changes"
        )


def _verdict(report: impact_pb.ImpactReport, out: Printer) -> None:
    effect = next((one for one in report.effects if one.metric == report.primary_metric), None)
    moved = ""
    if effect is not None and effect.HasField("relative") and effect.HasField("relative_interval"):
        between = effect.relative_interval
        moved = f": {word(effect, 'metric')} {effect.relative:+.0%} ({between.lower:+.0%} to {between.upper:+.0%})"
    gain = ""
    if report.HasField("weekly_gain"):
        gain = f"; {report.weekly_gain.leads:+.0f} leads a week"
        if report.weekly_gain.HasField("money"):
            gain += f", worth {_money(report.weekly_gain.money, report.currency_code, signed=True)}"
    out.line(f"{word(report, 'verdict').upper()}{moved}{gain}", indent=6)


def models(connection: Connection, family: str, config_id: int, out: Printer) -> None:
    """Which models answer, since when, and the way back."""
    client = ModelRegistryClient(connection)
    pages = client.list_models.pages(family=family, config_id=config_id, status="active")
    active = [model for page in pages for model in page.models]
    if not active:
        out.line(f"{family}: trains nothing; asks its method of the data at hand")
        name = f"{family}/{config_id}"
        for call in (
            lambda: client.get_model(family=family, name=name),
            lambda: client.activate_model_version(family=family, name=name, version=1, reason="demo"),
        ):
            _refused(call)
        return
    named = {"family": family, "name": active[0].ref.name}
    model = client.get_model(**named).model
    version = model.ref.version
    client.activate_model_version(**named, version=version, reason="the active one: nothing changes")
    refused = _refused(lambda: client.rollback_model(**named, reason="demo", expected_active_version=version))
    if refused is None:
        client.activate_model_version(**named, version=version, reason="the demo only shows the way back")
    [last] = islice(client.list_model_events(**named, page_size=1).events, 1)
    out.line(
        f"{family}: {len(active)} active models, such as {_source(model.ref)} on {model.samples_count} samples, "
        f"{word(last, 'event_type')} by {last.actor.split(' ')[0]}; "
        f"rolled back and forth: {'yes' if refused is None else f'no, {refused}'}"
    )


def training(connection: Connection, family: str, job: str, config_id: int, out: Printer) -> None:
    """Start a training over gRPC, look at it, and cancel it."""
    client = TrainingClient(connection)
    run = client.start_training(
        family=family, job=job, request_id=str(uuid.uuid4()), scope={"config_ids": [config_id]}, reason="demo"
    ).run
    listed = len(client.list_training_runs(family=family, job=job).runs)
    client.cancel_training_run(family=family, run_id=run.run_id, reason="the demo only shows how")
    run = client.get_training_run(family=family, run_id=run.run_id).run
    out.line(f"training {_words(job)}: run {run.run_id[:8]} of {listed} started, then {word(run, 'state')}")


def _refused(call: Callable[[], object]) -> str | None:
    """Why the service refuses; None where it does not. Being refused is an answer too."""
    try:
        call()
    except CallError as error:
        return error.message
    return None


def _total(forecast: forecasting_pb.Forecast, digits: int) -> str:
    if not forecast.total.HasField("value"):
        return "not known"
    total = forecast.total
    between = (
        f" ({total.interval.lower:.{digits}f} to {total.interval.upper:.{digits}f})"
        if total.HasField("interval")
        else ""
    )
    return f"{total.value:.{digits}f}{between}"


def _described(account: Account, change: Change) -> str:
    event = change.event
    amounts = ""
    if event.HasField("value_before") and event.HasField("value_after"):
        amounts = f" from {event.value_before:.0f} to {event.value_after:.0f}"
    return (
        f"{_words(word(event, 'change_type'))}{amounts} of {account.name(change.entity)} on {day(event.date)}"
    )


def _named(account: Account, ref: entity_pb2.EntityRef) -> str:
    level = word(ref, "entity_type")
    names = {(one.entity_type.value, one.entity_id): name for one, name in account.names.items()}
    return f"{names.get((level, ref.entity_id)) or ref.entity_id} ({level})"


def _source(model: object) -> str:
    return f"{model.name} version {model.version}" if model.name else ""


def _money(amount: float, currency: str, *, signed: bool = False) -> str:
    return (f"{amount:+,.0f}" if signed else f"{amount:,.0f}") + (f" {currency}" if currency else "")


def _new(changed: bool) -> str:
    return "new" if changed else "on record already"


def _words(name: str) -> str:
    return name.replace("_", " ")


def ranked(refs: Sequence[EntityRef], spent: dict[EntityRef, float]) -> list[EntityRef]:
    """Those that spent, the biggest first."""
    return sorted((one for one in refs if spent.get(one, 0.0) > 0), key=lambda one: -spent[one])

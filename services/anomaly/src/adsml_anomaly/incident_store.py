"""Incidents as the nightly scan keeps them: opened, still open, resolved, acknowledged, and what was said of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml_common.database import Database
from adsml_common.domain.entities import EntityRef
from adsml_common.schema import insert_into
from adsml_common.serving.messages import day, entity_ref, instant_message
from adsml_common.store.tables import incident_scans
from adsml_common.store.tables import incidents as table
from google.protobuf import json_format
from google.type import date_pb2
from sqlalchemy.engine import Connection, Row

from adsml_anomaly import encoding
from adsml_anomaly.decoding import JUDGEMENT
from adsml_anomaly.models.incidents import NO_DELIVERY
from adsml_anomaly.models.results import IncidentState, Scope
from adsml_anomaly.models.thresholds import Judgement

KEPT_DAYS: Final = 400
"""Incidents that were over for longer are removed."""
_WHOLE: Final = frozenset({Scope.ACCOUNT, Scope.LOAD})
_SLACK: Final = timedelta(days=2)


_OPEN: Final = table.c.state == IncidentState.OPEN.value


@dataclass(frozen=True, slots=True)
class StoredIncident:
    """An incident and its record."""

    config_id: int
    message: pb.StoredIncident  # As of the last scan, with a person's judgement
    person: str | None  # Who judged; None: nobody
    # Of the alert that stands for it at the receiver; None: there is none
    alert_labels: dict[str, str] | None

    @classmethod
    def of(cls, row: Row[Any]) -> "StoredIncident":
        """As it lies in the store."""
        message = pb.StoredIncident(
            incident=json_format.ParseDict(row.payload, pb.Incident(), ignore_unknown_fields=True),
            create_time=instant_message(row.created_at),
            update_time=instant_message(row.updated_at),
        )
        if row.judgement is not None:
            message.acknowledgement = JUDGEMENT.to_wire(Judgement(row.judgement))  # type: ignore[assignment]
        return cls(row.config_id, message, row.person, row.alert_labels)

    @property
    def incident(self) -> pb.Incident:
        """As of the last scan."""
        return self.message.incident

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.incident.state == pb.INCIDENT_STATE_OPEN

    @property
    def alerts(self) -> bool:
        """Whether an alert is to stand for it: open, and not said to be a false one."""
        return self.is_open and self.message.acknowledgement != pb.ALARM_JUDGEMENT_FALSE_ALARM


@dataclass(frozen=True)
class IncidentStore:
    """Reads and writes incidents."""

    database: Database

    def page(
        self, config_id: int, *, state: IncidentState | None, since: date | None, after: int, size: int
    ) -> list[StoredIncident]:
        """Incidents of an account, open ones first, then by money at stake: `size` of them behind the first `after`.

        Only those in a state, and those that were open on the day `since` or later, where these are given.
        """
        open_first = sa.case((_OPEN, 0), else_=1)
        query = (
            sa.select(table)
            .where(table.c.config_id == config_id)
            .order_by(open_first, table.c.stake.desc(), table.c.last_date.desc(), table.c.incident_key)
            .offset(after)
            .limit(size)
        )
        if state is not None:
            query = query.where(table.c.state == state.value)
        if since is not None:
            query = query.where(sa.or_(_OPEN, table.c.last_date >= since))
        with self.database.read() as connection:
            return [StoredIncident.of(row) for row in connection.execute(query)]

    def alerting(self, config_id: int) -> list[StoredIncident]:
        """Those that an alert stands for, or is to."""
        with self.database.read() as connection:
            stored = _known(connection, config_id, table.c.alert_labels.is_not(None))
        return [one for one in stored if one.alerts or one.alert_labels is not None]

    def open_by_account(self, config_id: int | None = None) -> list[tuple[int, int, float]]:
        """Accounts with open incidents: how many, and the money at stake per day; the most money first."""
        n, stake = sa.func.count(), sa.func.sum(table.c.stake)
        query = (
            sa.select(table.c.config_id, n, stake)
            .where(_OPEN, sa.true() if config_id is None else table.c.config_id == config_id)
            .group_by(table.c.config_id)
            .order_by(stake.desc(), table.c.config_id)
        )
        with self.database.read() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def scan_date(self, config_id: int) -> date | None:
        """The last day of an account that was scanned."""
        query = sa.select(incident_scans.c.scan_date).where(incident_scans.c.config_id == config_id)
        with self.database.read() as connection:
            return connection.execute(query).scalar()

    def update(
        self, config_id: int, found: Sequence[pb.Incident], *, scan_date: date, first_date: date, at: datetime
    ) -> None:
        """Take in what a scan of the days from `first_date` to `scan_date` found: all of it or nothing.

        The same again changes nothing. An incident that is known goes on under its id, also where it has spread from
        an entity to its campaign or the account, or has shrunk back. What was open and was not found any more is
        resolved.
        """
        with self.database.write() as connection:
            self.database.lock(connection, f"incidents {config_id}")
            write = partial(_write, connection, config_id, at)
            stored = _known(connection, config_id, table.c.last_date >= first_date - _SLACK)
            known = {one.incident.incident_id: one for one in stored}
            for incident in found:
                same = sorted(
                    (one for one in known.values() if _same(one.incident, incident)),
                    key=lambda one: one.incident.incident_id != incident.incident_id,
                )
                entry = pb.Incident()
                entry.CopyFrom(incident)
                if same:
                    # It goes on from the first of them; the others are part of it by now.
                    before = same[0].incident
                    entry.incident_id = before.incident_id
                    if same[0].is_open and _day(before.first_date) < _day(entry.first_date):
                        entry.first_date.CopyFrom(before.first_date)
                write(entry, same[0].incident if same else None)
                for one in same:
                    del known[one.incident.incident_id]
                for one in same[1:]:
                    _resolve(write, one, f"part of {entry.incident_id} by now")
            for one in known.values():
                _resolve(write, one, "no longer out of line")
            scanned = {"scan_date": scan_date, "scanned_at": at}
            connection.execute(
                insert_into(connection, incident_scans)
                .values(config_id=config_id, **scanned)
                .on_conflict_do_update(index_elements=[incident_scans.c.config_id], set_=scanned)
            )
            connection.execute(
                table.delete().where(
                    table.c.config_id == config_id,
                    ~_OPEN,
                    table.c.last_date < scan_date - timedelta(days=KEPT_DAYS),
                    table.c.alert_labels.is_(None),
                )
            )

    def acknowledge(
        self, ref: EntityRef, day: date, judgement: Judgement, *, person: str, at: datetime
    ) -> None:
        """Note a judgement of an entity's day with the incident that the day belongs to, if there is one.

        A false alarm of one entity says nothing of an incident that hits others, too.
        """
        query = sa.select(table).where(
            table.c.config_id == ref.config_id, table.c.first_date <= day, table.c.last_date >= day
        )
        with self.database.write() as connection:
            for row in connection.execute(query).all():
                incident = StoredIncident.of(row).incident
                own = incident.HasField("entity") and entity_ref(incident.entity, "entity") == ref
                if own or (judgement is not Judgement.FALSE_ALARM and ref in _refs(incident)):
                    connection.execute(
                        table.update()
                        .where(table.c.incident_key == row.incident_key)
                        .values(judgement=judgement.value, person=person, judged_at=at)
                    )
                    return

    def alerted(
        self, config_id: int, labels: Iterable[tuple[str, dict[str, str] | None]], *, at: datetime
    ) -> None:
        """Note the labels of the alerts that stand at the receiver now, by incident; None: it has ended."""
        with self.database.write() as connection:
            for incident_id, one in labels:
                connection.execute(
                    table.update()
                    .where(table.c.config_id == config_id, table.c.incident_id == incident_id)
                    .values(alert_labels=one if one is not None else sa.null(), alerted_at=at)
                )


def _known(connection: Connection, config_id: int, or_else: sa.ColumnElement[bool]) -> list[StoredIncident]:
    """The open incidents of an account, and those of which something else holds, in the order they came."""
    query = sa.select(table).where(table.c.config_id == config_id, sa.or_(_OPEN, or_else))
    return [StoredIncident.of(row) for row in connection.execute(query.order_by(table.c.incident_key))]


def _write(
    connection: Connection, config_id: int, at: datetime, entry: pb.Incident, before: pb.Incident | None
) -> None:
    if before == entry:
        return
    values = {
        "state": encoding.STATE.from_wire(entry.state, "state").value,
        "first_date": _day(entry.first_date),
        "last_date": _day(entry.last_date),
        "stake": entry.money_at_stake_per_day,
        "payload": json_format.MessageToDict(entry, preserving_proto_field_name=True),
        "updated_at": at,
    }
    insert = insert_into(connection, table).values(
        config_id=config_id, incident_id=entry.incident_id, created_at=at, **values
    )
    connection.execute(
        insert.on_conflict_do_update(index_elements=[table.c.config_id, table.c.incident_id], set_=values)
    )


def _resolve(write: Callable[..., None], stored: StoredIncident, words: str) -> None:
    if stored.is_open:
        entry = pb.Incident()
        entry.CopyFrom(stored.incident)
        entry.state = pb.INCIDENT_STATE_RESOLVED
        entry.summary = f"{entry.summary}; {words}"
        write(entry, stored.incident)


def _same(known: pb.Incident, found: pb.Incident) -> bool:
    """Whether a scan has found a known incident again: the same fault at the same time in the same place."""
    if known.incident_id == found.incident_id:
        return True
    kinds = {encoding.KIND.find(known.kind), encoding.KIND.find(found.kind)}
    scopes = {encoding.SCOPE.find(known.scope), encoding.SCOPE.find(found.scope)}
    return bool(
        known.state == pb.INCIDENT_STATE_OPEN
        and (len(kinds) == 1 or kinds <= NO_DELIVERY)
        and _day(found.first_date) <= _day(known.last_date) + _SLACK
        and _day(known.first_date) <= _day(found.last_date) + _SLACK
        and (scopes <= _WHOLE or _refs(known) & _refs(found))
    )


def _refs(incident: pb.Incident) -> set[EntityRef]:
    own = {entity_ref(incident.entity, "entity")} if incident.HasField("entity") else set()
    return own.union(*(_refs(child) for child in incident.children))


def _day(message: date_pb2.Date) -> date:
    return day(message, "date")

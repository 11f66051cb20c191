"""Meta's Marketing API by the official SDK: insights in asynchronous jobs, structure, and the log of activities.

Published behaviour: "Insights API: asynchronous jobs", "Rate limits" (codes 4, 17, 32, 613 and 80000 to 80014, usage
in the headers X-Business-Use-Case-Usage and X-FB-Ads-Insights-Throttle), "Error codes" (1 and 2: transient, 190:
token, 10, 200 to 299 and 803: permission, 100 with subcode 1487534: too much data).
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.domain.errors import Violations
from adsml_common.store.accounts import Account
from facebook_business.adobjects.adaccount import AdAccount
from facebook_business.adobjects.adreportrun import AdReportRun
from facebook_business.api import FacebookAdsApi
from facebook_business.exceptions import FacebookError, FacebookRequestError
from facebook_business.session import FacebookSession
from requests import RequestException
from requests.structures import CaseInsensitiveDict

from adsml_ingest.change_log import KnownAccount, read_activities
from adsml_ingest.files import SourceFile
from adsml_ingest.importer import Fetched
from adsml_ingest.sync.config import AccountSource, SourceUnavailable

TOKEN_VARIABLE: Final = "ADSML_META_ACCESS_TOKEN"  # noqa: S105  # its name
SECRET_VARIABLE: Final = "ADSML_META_APP_SECRET"  # noqa: S105
FIELDS: Final = (
    "account_id", "account_name", "account_currency", "campaign_id", "campaign_name", "adset_id", "adset_name", "ad_id",
    "ad_name", "objective", "date_start", "date_stop", "spend", "impressions", "clicks", "inline_link_clicks", "reach",
    "actions",
)  # fmt: skip
_ACTIVITY_FIELDS: Final = (
    "event_time", "event_type", "object_id", "object_name", "extra_data", "translated_event_type",
)  # fmt: skip
_STRUCTURE: Final = ("id", "name", "effective_status")
_BUDGETS: Final = ("daily_budget", "lifetime_budget")
_CHUNK_DAYS: Final = 7  # days of one job: few enough for an account with tens of thousands of ads
_PAGE: Final = 500
_LIMITS: Final = frozenset({4, 17, 32, 613, *range(80000, 80015)})
_TRANSIENT: Final = frozenset({1, 2, 341})
_TOO_MUCH: Final = frozenset({1487534, 99})
_PERMISSION: Final = frozenset({10, 803, *range(200, 300)})
_TOKEN: Final = frozenset({102, 190, 463, 467})
_TIMEOUT_S: Final = 60.0
_FIRST_S: Final = 5.0  # pause after the first failed try, doubled with each
_LONGEST_S: Final = 900.0  # pause
_JOB_S: Final = 3_600.0  # the longest that one job may take
_POLL_S: Final = 5.0  # between two looks at a job
_FULL_PERCENT: Final = 95
_PERCENTS: Final = ("app_id_util_pct", "acc_id_util_pct", "call_count", "total_cputime", "total_time")


class _TooMuchData(Exception):
    """A job that the API gives up on: ask for fewer days."""


@dataclass(slots=True)
class MetaSource:
    """Fetches one account after another with one token."""

    token: str  # of a system user with ads_read on the accounts
    app_secret: str | None = None  # signs the calls
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    attempts: int = 8  # of one request

    def __call__(self, account: AccountSource, first: date, last: date, spool: Path) -> Fetched:
        """All that the platform holds of an account's days from first to last.

        Raises `SourceUnavailable` if the token is no longer good, a permission is missing, or the API did not answer
        in time.
        """
        parts = urlsplit(account.source)
        ad_account = "act_" + parts.netloc.removeprefix("act_")
        reader = _AccountReader(self._api(parse_qs(parts.query)), ad_account, self)
        about = reader.about()
        path = spool / "insights.jsonl"
        with path.open("w", encoding="utf-8") as stream:
            for row in reader.insights(first, last, about.currency_code):
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        entities = reader.structure(account.config_id)
        changes = reader.changes(account.config_id, first, last, entities, about) if account.changes else []
        shown = Path(f"{account.shown}/insights.jsonl")
        files = [SourceFile(shown, path)] if path.stat().st_size else []
        return Fetched(files, True, about, entities, changes, reader.notes)

    def _api(self, query: Mapping[str, Sequence[str]]) -> FacebookAdsApi:
        session = FacebookSession(app_secret=self.app_secret, access_token=self.token, timeout=_TIMEOUT_S)
        if "graph" in query:
            session.GRAPH = query["graph"][0]
        return FacebookAdsApi(session, api_version=query.get("version", [None])[0])


class _AccountReader:
    """Reads one ad account."""

    def __init__(self, api: FacebookAdsApi, ad_account: str, source: MetaSource) -> None:
        self._account = AdAccount(ad_account, api=api)
        self._api = api
        self._name = ad_account
        self._source = source
        self.notes: list[str] = []

    def about(self) -> Account:
        """Currency, time zone and name."""
        fields = ["account_id", "name", "currency", "timezone_name"]
        node = self._retried(lambda: self._account.api_get(fields=fields))
        return Account(
            account_id=str(node.get("account_id") or self._name).removeprefix("act_"),
            account_name=node.get("name"),
            currency_code=node.get("currency"),
            time_zone=node.get("timezone_name"),
            id_kind="id",
        )

    def insights(self, first: date, last: date, currency: str | None) -> Iterator[dict[str, Any]]:
        """The daily rows of every ad, job by job."""
        for start in range(first.toordinal(), last.toordinal() + 1, _CHUNK_DAYS):
            end = min(start + _CHUNK_DAYS - 1, last.toordinal())
            yield from self._days(date.fromordinal(start), date.fromordinal(end), currency)

    def _days(self, first: date, last: date, currency: str | None) -> Iterator[dict[str, Any]]:
        try:
            rows = list(self._job(first, last))
        except _TooMuchData:
            if first == last:
                raise SourceUnavailable(
                    f"{self._name}: the API gives up on a single day ({first}): too much data; try again later"
                ) from None
            middle = first + (last - first) // 2
            yield from self._days(first, middle, currency)
            yield from self._days(middle + timedelta(days=1), last, currency)
            return
        for row in rows:
            yield {"account_currency": currency, **row} if currency else row

    def _job(self, first: date, last: date) -> Iterator[dict[str, Any]]:
        """Rows of one asynchronous job; raises `_TooMuchData` if it failed, or was skipped: the cure is fewer days."""
        span = {"since": first.isoformat(), "until": last.isoformat()}
        parameters = {"level": "ad", "time_increment": 1, "time_range": span, "limit": _PAGE}
        run = self._retried(lambda: self._account.get_insights_async(fields=list(FIELDS), params=parameters))
        deadline = self._source.clock() + _JOB_S
        while True:
            state = self._retried(lambda: AdReportRun(run["id"], api=self._api).api_get())
            status = state.get("async_status")
            if status == "Job Completed" and int(state.get("async_percent_completion") or 0) >= 100:
                break
            if status in ("Job Failed", "Job Skipped"):
                raise _TooMuchData
            if self._source.clock() > deadline:
                raise SourceUnavailable(f"{self._name}: the job of {first} to {last} did not end in time")
            self._source.sleep(_POLL_S)
        yield from self._all(
            lambda: AdReportRun(run["id"], api=self._api).get_insights(params={"limit": _PAGE})
        )

    def structure(self, config_id: int) -> list[Entity]:
        """Campaigns, ad sets and ads with names, parents, status; who shares a budget."""
        today = date.today()  # noqa: DTZ011  # a day more or less of a fact's age says nothing
        found: list[Entity] = []
        shares: dict[str, bool] = {}
        for level, edge, parent, fields in (
            (EntityType.CAMPAIGN, self._account.get_campaigns, "", ("objective", *_BUDGETS)),
            (EntityType.ADSET, self._account.get_ad_sets, "campaign_id", ("campaign_id",)),
            (EntityType.AD, self._account.get_ads, "adset_id", ("adset_id",)),
        ):
            request = partial(edge, fields=[*_STRUCTURE, *fields], params={"limit": _PAGE})
            for one in self._all(request):
                if level is EntityType.CAMPAIGN:
                    shares[one["id"]] = any(int(one.get(name) or 0) for name in _BUDGETS)
                shared = shares.get(one.get(parent, "")) if level is EntityType.ADSET else None
                found.append(
                    Entity(
                        EntityRef(config_id, level, str(one["id"])), one.get(parent), one.get("name"),
                        one.get("effective_status"), one.get("objective"), shared, facts_date=today,
                    )
                )  # fmt: skip
        return found

    def changes(
        self, config_id: int, first: date, last: date, entities: Sequence[Entity], about: Account
    ) -> list[ChangeEvent]:
        """What was changed, as far as models use it."""
        until = last + timedelta(days=1)
        parameters = {"since": first.isoformat(), "until": until.isoformat(), "limit": _PAGE}
        request = partial(self._account.get_activities, fields=list(_ACTIVITY_FIELDS), params=parameters)
        try:
            rows = list(self._all(request))
        except SourceUnavailable as error:
            cause = error.__cause__
            if not isinstance(cause, FacebookRequestError) or cause.api_error_code() not in _PERMISSION:
                raise
            self.notes.append(f"the log of activities may not be read: {error.message}")
            return []
        known = KnownAccount(config_id, entities, about.currency_code, about.time_zone)
        faults = Violations()
        log = read_activities([("", row) for row in rows], known, date.max, faults=faults)
        self.notes += [f"an activity could not be read: {one.description}" for one in faults.found]
        return log.events

    def _all(self, request: Callable[[], Any]) -> Iterator[dict[str, Any]]:
        """Every row of an edge, page by page."""
        cursor = self._retried(request)
        while True:
            for row in cursor._queue:  # the page at hand; iterating would fetch the next unasked
                yield row.export_all_data()
            cursor._queue = []
            if cursor._finished_iteration:
                return
            self._retried(cursor.load_next_page)  # a page may be empty, and yet not be the last

    def _retried(self, request: Callable[[], Any]) -> Any:
        """The answer to a request, asked again while the API is busy or we have asked too much.

        Raises `SourceUnavailable` if it refuses for good, or patience is at its end; `_TooMuchData` if it says so.
        """
        attempts, pause = self._source.attempts, _FIRST_S
        for attempt in range(1, attempts + 1):
            try:
                answer = request()
            except FacebookRequestError as error:
                wait = self._wait_for(error, pause)
                if wait is None or attempt == attempts:
                    raise self._refusal(error) from error
            except (RequestException, FacebookError) as error:
                wait = pause
                if attempt == attempts:
                    raise SourceUnavailable(
                        f"{self._name}: the API does not answer ({type(error).__name__})"
                    ) from None
            else:
                self._yield_if_full(answer)
                return answer
            self._source.sleep(min(wait, _LONGEST_S))
            pause = min(2 * pause, _LONGEST_S)
        raise AssertionError("the last attempt returns or raises")

    def _wait_for(self, error: FacebookRequestError, pause: float) -> float | None:
        """Seconds to wait before asking again; None if asking again is no use."""
        code, subcode = error.api_error_code(), error.api_error_subcode()
        said = str(error.api_error_message() or "").lower()
        if subcode in _TOO_MUCH or "reduce the amount of data" in said:
            raise _TooMuchData from error
        if code in _LIMITS:
            return max(pause, _regain_s(_usage(error.http_headers())))
        status = error.http_status() or 0
        if code in _TRANSIENT or error.api_transient_error() or status >= 500:
            return pause
        return None

    def _refusal(self, error: FacebookRequestError) -> SourceUnavailable:
        code, said = error.api_error_code(), error.api_error_message() or f"HTTP {error.http_status()}"
        cure = "see Meta's error codes"
        if code in _TOKEN:
            cure = f"the access token is no longer good: make a new one for the system user, put it in {TOKEN_VARIABLE}"
        elif code in _PERMISSION:
            cure = f"give the token's user ads_read on {self._name}"
        elif code in _LIMITS:
            cure = "the rate limit was not lifted in time: sync fewer accounts at once, or later"
        return SourceUnavailable(f"{self._name}: (#{code}) {said}; {cure}")

    def _yield_if_full(self, answer: Any) -> None:
        """Pause before the limit is reached, as the usage headers say."""
        headers = getattr(answer, "headers", None)
        usage = _usage(headers() if callable(headers) else headers)
        percents = [float(entry.get(name) or 0) for entry in usage for name in _PERCENTS]
        if max(percents, default=0.0) >= _FULL_PERCENT:
            self._source.sleep(min(max(_regain_s(usage), _FIRST_S), _LONGEST_S))


def _usage(headers: Any) -> list[dict[str, Any]]:
    """What the API says of the use of each of its rate limits."""
    entries: list[Any] = []
    with suppress(ValueError, TypeError, AttributeError):  # headers that are none, or of an unknown form
        known = CaseInsensitiveDict(headers)
        entries.append(json.loads(known.get("x-fb-ads-insights-throttle", "{}")))
        for some in json.loads(known.get("x-business-use-case-usage", "{}")).values():
            entries += some
    return [entry for entry in entries if isinstance(entry, dict)]


def _regain_s(usage: Sequence[Mapping[str, Any]]) -> float:
    """Seconds until the API says that it takes calls again; 0 where it does not say."""
    minutes = (float(entry.get("estimated_time_to_regain_access") or 0) for entry in usage)
    return 60.0 * max(minutes, default=0.0)

"""A stand-in for Meta's Graph API: answers over HTTP as the Marketing API does, from a small account in memory.

Shapes, codes and headers are those of Meta's reference: asynchronous insights jobs, cursors, rate limits, tokens.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "a-good-token"


@dataclass
class GraphAccount:
    """An ad account as the platform holds it.

    Attributes
    ----------
    rows
        Insights by ad and day: ``(ad, day) -> (spend, leads)``.
    ads
        Ad to its ad set; ad sets belong to campaign 10.
    """

    number: str = "555"
    currency: str = "EUR"
    time_zone: str = "Europe/Berlin"
    ads: dict[str, str] = field(default_factory=lambda: {"1": "20", "2": "20", "3": "21"})
    rows: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    activities: list[dict[str, Any]] = field(default_factory=list)

    def fill(self, first: date, last: date, *, leads: float = 2.0) -> None:
        """Ten spent and some leads for every ad and day."""
        day = first
        while day <= last:
            for ad in self.ads:
                self.rows[ad, day.isoformat()] = (10.0, leads)
            day += timedelta(days=1)


@dataclass
class GraphServer:
    """What the server does, and what it was asked.

    Attributes
    ----------
    failures
        Error bodies, with status and headers, that the next requests get, oldest first.
    too_many_days
        Jobs over more days fail, as those over too much data do.
    page
        Rows of a page.
    polls
        Times that a job is still running when it is looked at.
    requests
        Method, path and query of each.
    """

    accounts: dict[str, GraphAccount] = field(default_factory=dict)
    failures: list[tuple[int, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    too_many_days: int = 99
    page: int = 2
    polls: int = 1
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def answer(
        self, method: str, path: str, query: dict[str, str]
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Status, body and headers."""
        self.requests.append((method, path, query))
        if self.failures:
            return self.failures.pop(0)
        if query.get("access_token") != TOKEN:
            return 400, error(190, "Error validating access token: Session has expired", subcode=463), {}
        parts = path.strip("/").split("/")[1:]
        edge = parts[1] if len(parts) > 1 else ""
        if edge in self.denied:
            return 403, error(200, "(#200) Ad account owner has NOT grant ads_read permission"), {}
        if parts[0] in self.jobs:
            return 200, self._job(parts[0], edge, query), {}
        account = self.accounts.get(parts[0].removeprefix("act_"))
        if account is None:
            return 400, error(100, "Unsupported get request. Object does not exist", subcode=33), {}
        return 200, self._account(method, account, edge, query), {}

    def _account(
        self, method: str, account: GraphAccount, edge: str, query: dict[str, str]
    ) -> dict[str, Any]:
        if edge == "insights" and method == "POST":
            number = str(6_000 + len(self.jobs))
            self.jobs[number] = {
                "account": account,
                "range": json.loads(query["time_range"]),
                "polls": self.polls,
            }
            return {"report_run_id": number}
        if edge == "campaigns":
            rows: list[dict[str, Any]] = [
                {"id": "10", "name": "Brand", "effective_status": "ACTIVE", "objective": "OUTCOME_LEADS",
                 "daily_budget": "5000"}
            ]  # fmt: skip
        elif edge == "adsets":
            rows = [
                {"id": adset, "name": f"Set {adset}", "effective_status": "PAUSED", "campaign_id": "10"}
                for adset in sorted(set(account.ads.values()))
            ]
        elif edge == "ads":
            rows = [
                {"id": ad, "name": f"Ad {ad}", "effective_status": "ACTIVE", "adset_id": adset}
                for ad, adset in account.ads.items()
            ]
        elif edge == "activities":
            rows = account.activities
        else:
            return {
                "id": f"act_{account.number}", "account_id": account.number, "name": "Nord GmbH",
                "currency": account.currency, "timezone_name": account.time_zone,
            }  # fmt: skip
        return self._page(rows, query)

    def _job(self, number: str, edge: str, query: dict[str, str]) -> dict[str, Any]:
        job = self.jobs[number]
        first, last = (date.fromisoformat(job["range"][name]) for name in ("since", "until"))
        if edge != "insights":
            if (last - first).days + 1 > self.too_many_days:
                return {"id": number, "async_status": "Job Failed", "async_percent_completion": 0}
            job["polls"] -= 1
            done = job["polls"] < 0
            status = "Job Completed" if done else "Job Running"
            return {"id": number, "async_status": status, "async_percent_completion": 100 if done else 50}
        account = job["account"]
        rows = [
            {
                "account_id": account.number, "account_name": "Nord GmbH", "campaign_id": "10", "campaign_name": "Brand",
                "adset_id": account.ads[ad], "adset_name": f"Set {account.ads[ad]}", "ad_id": ad, "ad_name": f"Ad {ad}",
                "date_start": day, "date_stop": day, "spend": f"{spend:.2f}", "impressions": "1000", "clicks": "20",
                "reach": "800", "actions": [{"action_type": "lead", "value": f"{leads:g}"}],
            }
            for (ad, day), (spend, leads) in sorted(account.rows.items())
            if first <= date.fromisoformat(day) <= last
        ]  # fmt: skip
        return self._page(rows, query)

    def _page(self, rows: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        start = int(query.get("after", "0"))
        after = start + self.page
        paging: dict[str, Any] = {"cursors": {"before": str(start), "after": str(after)}}
        if after < len(rows):
            paging["next"] = f"{self.url}/next?after={after}"
        return {"data": rows[start:after], "paging": paging}


def error(code: int, message: str, *, subcode: int | None = None) -> dict[str, Any]:
    """An error body."""
    body: dict[str, Any] = {"message": message, "type": "OAuthException", "code": code, "fbtrace_id": "A"}
    if subcode is not None:
        body["error_subcode"] = subcode
    return {"error": body}


@contextmanager
def serve_graph() -> Iterator[GraphServer]:
    """A server on a free port of the loopback."""
    graph = GraphServer()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            text = self.rfile.read(length).decode() if length else ""
            query = {name: values[0] for name, values in parse_qs(f"{parts.query}&{text}").items()}
            with lock:
                status, body, headers = graph.answer(self.command, parts.path, query)
            data = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Type": "application/json"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _handle  # noqa: N815  # http.server's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    graph.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield graph
    finally:
        server.shutdown()
        server.server_close()

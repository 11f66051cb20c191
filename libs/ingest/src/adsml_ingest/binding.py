"""What a config is bound to at its first load, and later loads held against it."""

from dataclasses import replace

from adsml_common.domain.errors import Violations
from adsml_common.store.accounts import FIELDS, Account
from adsml_common.store.metrics import AccountLoad

from adsml_ingest.options import Clicks
from adsml_ingest.problems import Problem
from adsml_ingest.state import ImportState


def bind(load: AccountLoad, state: ImportState, beside: Account) -> None:
    """Refuse what can't belong to the account that is stored, and note what is new of it.

    `beside` is what the source says of the account itself. Raises `InvalidInput` if the files are of another account,
    in another currency or time zone, or name entities otherwise than what is stored.
    """
    stored, options = load.account, state.options
    known = {name: value for name in FIELDS if (value := getattr(beside, name)) is not None}
    told = replace(_described(state), **known)
    found = Violations()

    def differs(mine: str | None, theirs: str | None) -> bool:
        return mine is not None and theirs is not None and mine != theirs

    if differs(told.account_id, stored.account_id):
        found.add(
            "account",
            f"the files are of ad account {told.account_id}, and this config holds account {stored.account_id}; "
            "import each account into a config of its own, or pick one with --account-id",
        )
    elif told.account_id is None and differs(told.account_name, stored.account_name):
        found.add(
            "account",
            f"the files are of the ad account called '{told.account_name}', and this config holds "
            f"'{stored.account_name}'; import each account into a config of its own",
        )
    if differs(told.currency_code, stored.currency_code) and not options.new_currency:
        found.add(
            "currency",
            f"the money is in {told.currency_code}, and this config's is in {stored.currency_code}; export it in "
            "the account's currency, use another config, or pass --new-currency if the account's has changed",
        )
    if differs(told.time_zone, stored.time_zone):
        found.add(
            "time_zone",
            f"the days are of {told.time_zone}, and this config's of {stored.time_zone}; use another config",
        )
    if differs(told.id_kind, stored.id_kind):
        kinds = {"id": "the platform's ids", "name": "names, for want of ids"}
        found.add(
            "id_kind",
            f"the files name entities by {kinds[told.id_kind or 'id']}, and this config's are stored by "
            f"{kinds[stored.id_kind or 'id']}: the same entity would be there twice; add the columns of ids to "
            "every report, and load what was loaded by name again, into another config",
        )
    found.raise_if_any()
    if differs(told.click_kind, stored.click_kind):
        kinds = {"all": "all clicks", "link": "link clicks"}
        mine, theirs = kinds[told.click_kind or "all"], kinds[stored.click_kind or "all"]
        what = f"clicks are {mine}, and those stored so far are {theirs}: CTR will jump where the two mix"
        wanted = "add the column Clicks (all)" if stored.click_kind == "all" else "pass --clicks link"
        state.warnings.add(Problem("", "mixed_clicks", what, wanted if options.clicks is None else ""))
        told = replace(told, click_kind=None)
    load.bind(told)


def _described(state: ImportState) -> Account:
    """What the files say of their account."""
    kinds = {file.table.click_kind for file in state.files if file.table is not None and not file.dropped}
    kinds.discard(None)
    asked = state.options.account_id
    account = asked.strip().removeprefix("act_") if asked else None
    currency = next(iter(state.currencies), None)
    return Account(
        account_id=account or next(iter(state.accounts), None),
        account_name=next(iter(state.account_names), None),
        currency_code=currency if currency and len(currency) == 3 else None,
        time_zone=next(iter(state.time_zones), None),
        id_kind="name" if "name" in state.id_kinds else "id" if state.id_kinds else None,
        click_kind="link" if kinds == {Clicks.LINK.value} else "all" if kinds else None,
    )

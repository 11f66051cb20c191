"""`adsml accounts`: what each config is bound to, and how fresh it is."""

from adsml_common.cli.context import open_database, settings
from adsml_common.cli.output import JsonOption, print_json, table


def accounts(json_output: JsonOption = False) -> None:
    """List the accounts: ad account, currency, time zone, kind of ids and clicks, days stored, last sync.

    Example: adsml accounts
    """
    from adsml_common.store.accounts import AccountStore  # noqa: PLC0415

    with open_database(settings()) as database:
        listed = AccountStore(database).list()
    if json_output:
        print_json({"accounts": listed})
        return
    table(
        "Accounts",
        (
            "config", "ad account", "currency", "time zone", "entities by", "clicks", "first day", "last day",
            "last sync",
        ),
        [
            (
                str(one.config_id), one.account.account_id or one.account.account_name, one.account.currency_code,
                one.account.time_zone, one.account.id_kind, one.account.click_kind, one.first_date, one.last_date,
                one.sync_error or (f"{one.sync_finished_at:%Y-%m-%d %H:%M}" if one.sync_finished_at else None),
            )
            for one in listed
        ],
        right=("config",),
    )  # fmt: skip

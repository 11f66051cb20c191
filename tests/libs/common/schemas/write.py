"""Writes the schema that this version makes of an empty database beside this file: once a release that migrates."""

from pathlib import Path

from adsml_common.migrations import METADATA, head_revision
from adsml_common.schema import OLDEST_CODE
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

if __name__ == "__main__":
    revision = head_revision()
    for dialect in (postgresql.dialect(), sqlite.dialect()):
        made = [
            str(one.compile(dialect=dialect)).strip()
            for table in METADATA.sorted_tables
            for one in (
                CreateTable(table),
                *map(CreateIndex, sorted(table.indexes, key=lambda i: str(i.name))),
            )
        ]
        if dialect.name == "postgresql":
            made.append("CREATE TABLE daily_metrics_other PARTITION OF daily_metrics DEFAULT")
        made += [
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)",
            f"INSERT INTO alembic_version VALUES ('{revision}')",  # noqa: S608
            f"INSERT INTO schema_notes VALUES ('{OLDEST_CODE}', '{revision}')",  # noqa: S608
        ]
        text = "\n".join(line.rstrip() for line in ";\n\n".join(made).splitlines())
        Path(__file__).with_name(f"{revision}_{dialect.name}.sql").write_text(f"{text};\n")

"""`sluice migrate [--dry-run] [--allow-destructive]`: brings ClickHouse's tables and views up to date."""

import argparse
import sys

from cli.failures import FAILURES, sentence
from runtime.settings import Settings
from sinks.clickhouse import connect
from sinks.migrate import STEPS, MigrationError, Migrator
from sinks.migrationlock import LockLost, LockTimeout


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--dry-run", action="store_true", help="print the statements, run none")
    parser.add_argument("--allow-destructive", action="store_true", help="run what may drop or rewrite stored data")


def run(settings: Settings, dry_run: bool = False, allow_destructive: bool = False) -> int:
    """Exit code: 0 where everything is applied, 1 where something is refused or ClickHouse does not answer."""
    try:
        client = connect(settings, database=False)
        migrator = Migrator(client, settings.clickhouse_database, settings.clickhouse_cluster)
        if dry_run:
            _show(migrator)
        else:
            migrator.run(allow_destructive, say=print)
    except (*FAILURES, MigrationError, LockLost, LockTimeout) as error:
        print(sentence(settings, error), file=sys.stderr)
        return 1
    return 0


def _show(migrator: Migrator) -> None:
    for migration in migrator.pending():
        skipped = " (skipped where the account may not manage access)" if migration.requires_access else ""
        print(f"-- {migration.name}{skipped}")
        if migration.name in STEPS:
            print(f"-- before: {STEPS[migration.name][1]}")
        for statement in migration.statements:
            note = (
                "-- may drop or rewrite stored data: needs --allow-destructive\n" if statement.is_destructive() else ""
            )
            print(f"{note}{migrator.sql(statement)};\n")

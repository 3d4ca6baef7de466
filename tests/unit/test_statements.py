"""Migrations' SQL: split, judged, made repeatable, turned into the cluster's form."""

import re

import pytest

from sinks.migrate import load
from sinks.statements import StatementError, split


def texts(sql: str) -> list[str]:
    return [statement.text for statement in split(sql)]


def test_semicolons_in_strings_and_comments_end_nothing() -> None:
    sql = """
    -- one; two
    SELECT ';''\\';', `a;b`, "c;d", $t$ ; $t$ /* ; /* nested ; */ ; */ ; # ! no
    SELECT 2
    """
    assert texts(sql) == ["SELECT ';''\\';', `a;b`, \"c;d\", $t$ ; $t$", "SELECT 2"]


def test_empty_statements_are_none() -> None:
    assert texts(";; -- nothing\n ; /* nothing */") == []


@pytest.mark.parametrize("sql", ["SELECT 'a", "SELECT `a", 'SELECT "a', "SELECT 1 /* a /* b */", "SELECT $a$ b"])
def test_what_does_not_end_is_refused_with_its_line(sql: str) -> None:
    with pytest.raises(StatementError, match="line 2"):
        split("\n" + sql)


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE t",
        "drop view v",
        "TRUNCATE TABLE t",
        "DETACH TABLE t",
        "RENAME TABLE a TO b",
        "EXCHANGE TABLES a AND b",
        "CREATE OR REPLACE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a",
        "CREATE MATERIALIZED VIEW v TO t AS SELECT 1",
        "DELETE FROM t WHERE 1",
        "UPDATE t SET a = 1 WHERE 1",
        "OPTIMIZE TABLE t FINAL",
        "ALTER TABLE t DELETE WHERE 1",
        "ALTER TABLE t UPDATE a = 1 WHERE 1",
        "ALTER TABLE t MODIFY COLUMN a Int8",
        "ALTER TABLE t MODIFY COLUMN a Int8 CODEC(T64)",
        "ALTER TABLE t MODIFY COLUMN a CODEC(T64) TTL d + INTERVAL 1 DAY",
        "ALTER TABLE t MODIFY COLUMN a CODEC(Delta(8), LZ4), DROP COLUMN b",
        "ALTER TABLE t MODIFY COLUMN a CODEC",
        "ALTER TABLE t ADD COLUMN IF NOT EXISTS a Array(Tuple(Int8, Int8)), DROP COLUMN b",
        "ALTER TABLE t MODIFY TTL d + INTERVAL 1 DAY",
        "ALTER TABLE t DROP PARTITION 1",
        "ALTER /* ADD COLUMN */ TABLE d.t\n -- ADD COLUMN\n CLEAR COLUMN `ADD COLUMN`",
        "ALTER TABLE `t` ADD COLUMN a String DEFAULT 'x, y', DETACH PARTITION 'z'",
        "ALTER USER u IDENTIFIED BY 'x'",
        "SYSTEM STOP MERGES",
        "INSERT OVERWRITE t SELECT 1",
        "KILL MUTATION WHERE 1",
        "'CREATE TABLE t'",
    ],
)
def test_what_may_drop_or_rewrite_is_destructive(sql: str) -> None:
    (statement,) = split(sql)
    assert statement.is_destructive()


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t (a String COMMENT 'DROP TABLE t') ENGINE = MergeTree ORDER BY a",
        "CREATE VIEW v AS SELECT 1",
        "CREATE OR REPLACE VIEW v AS SELECT 1",
        "ALTER TABLE t ADD COLUMN IF NOT EXISTS a Map(String, Int8) DEFAULT map('a, b', 1), COMMENT COLUMN a 'x'",
        "ALTER TABLE d.t MODIFY SETTING x = 1",
        "ALTER TABLE d.t MODIFY COLUMN a.b CODEC(Delta(8), LZ4), MODIFY COLUMN CODEC CODEC(T64)",
        "INSERT INTO t SELECT 1",
        "GRANT SELECT ON * TO r",
    ],
)
def test_what_adds_is_not(sql: str) -> None:
    (statement,) = split(sql)
    assert not statement.is_destructive()


def test_cluster_form() -> None:
    sql = """
    CREATE TABLE d.t (a Int8) ENGINE = ReplacingMergeTree(v) ORDER BY a;
    CREATE TABLE IF NOT EXISTS m (a Int8) ENGINE = Memory;
    CREATE VIEW v (a Int8) AS SELECT a FROM t;
    CREATE OR REPLACE VIEW v AS SELECT 1;
    ALTER TABLE t ADD COLUMN IF NOT EXISTS b Int8;
    GRANT SELECT ON * TO r;
    INSERT INTO t SELECT 1
    """
    assert [statement.for_cluster("c`") for statement in split(sql)] == [
        "CREATE TABLE IF NOT EXISTS d.t ON CLUSTER `c``` (a Int8) ENGINE = ReplicatedReplacingMergeTree(v) ORDER BY a",
        "CREATE TABLE IF NOT EXISTS m ON CLUSTER `c``` (a Int8) ENGINE = Memory",
        "CREATE VIEW IF NOT EXISTS v ON CLUSTER `c``` (a Int8) AS SELECT a FROM t",
        "CREATE OR REPLACE VIEW v ON CLUSTER `c``` AS SELECT 1",
        "ALTER TABLE t ON CLUSTER `c``` ADD COLUMN IF NOT EXISTS b Int8",
        "GRANT ON CLUSTER `c``` SELECT ON * TO r",
        "INSERT INTO t SELECT 1",
    ]


def test_a_statement_without_a_form_for_a_cluster_is_refused() -> None:
    with pytest.raises(StatementError, match="OPTIMIZE"):
        split("OPTIMIZE t")[0].for_cluster("c")


def test_every_migration_is_harmless_repeatable_and_has_a_cluster_form() -> None:
    again = re.compile(
        r"CREATE (TABLE|VIEW) IF NOT EXISTS |CREATE OR REPLACE VIEW "
        r"|ALTER TABLE \w+ "
        r"(ADD COLUMN IF NOT EXISTS|COMMENT COLUMN|MODIFY COMMENT|MODIFY SETTING|MODIFY COLUMN \w+ CODEC\()"
    )
    access = re.compile(r"CREATE ROLE IF NOT EXISTS |GRANT ")
    for migration in load():
        assert not migration.destructive()
        for statement in migration.statements:
            assert (access if migration.requires_access else again).match(statement.repeatable()), statement.head
            form = statement.for_cluster("c")
            assert "ON CLUSTER `c`" in form
            assert ("ENGINE" in form) == ("ENGINE = Replicated" in form)

"""Statements whose effect depends on more than their text give the same rows on every node."""

import random
from collections.abc import Iterator

import pytest
from cluster_handle import ClusterHandle, private_cluster
from equal_nodes import wait_until_equal

TABLE = """
CREATE TABLE IF NOT EXISTS distributed_db.pins (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  code VARCHAR(20) NOT NULL UNIQUE,
  amount INT NOT NULL DEFAULT 0,
  luck DOUBLE NULL,
  made TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  changed DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
  day VARCHAR(30) NULL
)
"""
STATEMENTS = (
    "INSERT INTO pins (code) VALUES ('a1'), ('a2'), ('a3')",
    "INSERT INTO pins (code) VALUES ('b1'), ('a2')",
    "INSERT IGNORE INTO pins (code) VALUES ('a1')",
    "INSERT IGNORE INTO pins (code) VALUES ('c1')",
    "INSERT INTO pins (id, code) VALUES (100, 'd1'), (NULL, 'd2'), (0, 'd3')",
    "REPLACE INTO pins (code, amount) VALUES ('a1', 5), ('e1', 6)",
    "INSERT INTO pins (code, amount) VALUES ('a2', 7) ON DUPLICATE KEY UPDATE amount = amount + 7",
    "INSERT INTO pins (code, amount) VALUES ('f1', 8) ON DUPLICATE KEY UPDATE amount = amount + 8",
    "INSERT INTO pins (code, luck, day) VALUES ('g1', RAND(), NOW(6)), ('g2', RAND(), DATE_FORMAT(NOW(6), '%W %f'))",
    "INSERT INTO pins (code, luck, amount) VALUES ('g3', RAND(7), UNIX_TIMESTAMP())",
    "INSERT INTO pins SET code = 'h1', day = CURDATE(), luck = RAND() * 5",
    "UPDATE pins SET amount = amount + 1, day = SYSDATE(6) WHERE code LIKE 'a%'",
    "UPDATE pins SET amount = amount + 1 WHERE code = 'nobody'",
    "DELETE FROM pins WHERE code = 'b1'",
    "DELETE FROM pins WHERE code = 'g1'",
    "INSERT INTO pins (code) VALUES ('größe ✓ 😀')",
    "INSERT INTO pins (code, day) VALUES ('quote''s', \"back\\\\slash; -- no comment\")",
    "INSERT INTO pins (id, code) VALUES (500, 'i1')",
    "INSERT INTO pins (code) VALUES ('i2')",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    """A cluster of its own: the table is made behind the log's back, so a node that is filled again would not have it."""
    with private_cluster(tmp_path_factory.mktemp("pins")) as handle:
        yield handle


def test_pinned_statements_give_equal_rows_on_all_nodes(cluster: ClusterHandle) -> None:
    for node in cluster.nodes:
        cluster.rows_on(node, TABLE)
    statuses = [cluster.query(sql).status_code for sql in STATEMENTS]
    assert statuses == [200, 409, *[200] * (len(STATEMENTS) - 2)]
    wait_until_equal(cluster, within_s=2)
    states = {node["state"] for node in cluster.get("coordinator", "/status").json()["nodes"].values()}
    assert states == {"level"}, "a node was quarantined"


def test_random_mixes_of_inserts_give_equal_ids_on_all_nodes(cluster: ClusterHandle) -> None:
    for node in cluster.nodes:
        cluster.rows_on(node, TABLE)
    chance = random.Random(5)
    for _ in range(150):
        codes = [f"r{chance.randrange(120)}" for _ in range(chance.randrange(1, 4))]
        rows = ", ".join(f"('{code}', {chance.randrange(9)})" for code in codes)
        first = f"('{codes[0]}', {chance.randrange(9)})"
        sql = chance.choice(
            [
                f"INSERT INTO pins (code, amount) VALUES {rows}",
                f"REPLACE INTO pins (code, amount) VALUES {rows}",
                f"INSERT IGNORE INTO pins (code, amount) VALUES {first}",
                f"INSERT INTO pins (code, amount) VALUES {first} ON DUPLICATE KEY UPDATE amount = amount + 1",
                f"DELETE FROM pins WHERE code = '{codes[0]}'",
            ]
        )
        assert cluster.query(sql).status_code in (200, 409), sql
    wait_until_equal(cluster, within_s=2)

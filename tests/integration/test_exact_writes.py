"""Writes whose exactness rests on the schema, on a real cluster: after all of them the four nodes hold equal rows.

The tables are made through the log; ids are burnt on the master by writes that fail, and rows are moved about, so that the nodes'
counters and the places of their rows differ.
"""

import random
from collections.abc import Iterator

import pytest
from cluster_handle import ClusterHandle, private_cluster
from equal_nodes import wait_until_equal

TABLES = (
    "CREATE TABLE items (id INT AUTO_INCREMENT PRIMARY KEY, code VARCHAR(20) NOT NULL UNIQUE, n INT NOT NULL DEFAULT 0,"
    " f DOUBLE, changed DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),"
    " doubled INT AS (n * 2) STORED, CHECK (n < 1000))",
    "CREATE TABLE lots (id INT PRIMARY KEY, item INT, n INT NOT NULL DEFAULT 0, note VARCHAR(50),"
    " FOREIGN KEY (item) REFERENCES items (id) ON DELETE CASCADE ON UPDATE CASCADE)",
    "CREATE TABLE parts (id INT PRIMARY KEY, n INT) PARTITION BY HASH (id) PARTITIONS 3",
    "CREATE TABLE audit (lot INT NOT NULL, at TIMESTAMP(6) NOT NULL, what VARCHAR(20) NOT NULL, n INT,"
    " PRIMARY KEY (lot, at, what))",
    "CREATE TABLE totals (item INT PRIMARY KEY, n INT NOT NULL)",
    "CREATE VIEW some_items AS SELECT id, n FROM items WHERE n > 5",
    "CREATE TRIGGER lots_before BEFORE INSERT ON lots FOR EACH ROW SET NEW.note = CONCAT('made ', NOW(6))",
    "CREATE TRIGGER lots_after AFTER INSERT ON lots FOR EACH ROW BEGIN"
    " INSERT INTO audit VALUES (NEW.id, NOW(6), 'insert', NEW.n);"
    " INSERT INTO totals VALUES (COALESCE(NEW.item, 0), 1) ON DUPLICATE KEY UPDATE n = n + 1;"
    " END",
    "CREATE TRIGGER lots_changed AFTER UPDATE ON lots FOR EACH ROW BEGIN"
    " IF NEW.n <> OLD.n THEN"
    " REPLACE INTO audit VALUES (NEW.id, NOW(6), 'update', NEW.n);"
    " UPDATE totals SET n = NEW.n WHERE item = COALESCE(NEW.item, 0);"
    " END IF; END",
)
REFUSED = (
    "DELETE FROM items LIMIT 1",
    "UPDATE lots SET n = n + 1",
    "UPDATE items SET id = id + 1",
    "INSERT INTO items (code) SELECT note FROM lots",
    "INSERT INTO items (id, code) VALUES (1, 'x') ON DUPLICATE KEY UPDATE n = 1",
    "UPDATE items JOIN lots ON lots.n = items.n SET items.n = lots.n",
    "UPDATE items SET n = (SELECT SUM(f) FROM some_items)",
    "ALTER TABLE totals MODIFY item INT AUTO_INCREMENT",
    "CREATE TRIGGER t AFTER INSERT ON parts FOR EACH ROW INSERT INTO items (code) VALUES (NEW.n)",
    "DROP DATABASE distributed_db",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    with private_cluster(tmp_path_factory.mktemp("exact")) as handle:
        for sql in TABLES:
            handle.query(sql).raise_for_status()
        yield handle


def statement(chance: random.Random) -> str:
    some, other = chance.randrange(1, 60), chance.randrange(1, 60)
    code, codes = (
        f"'c{chance.randrange(40)}'",
        [f"('c{chance.randrange(40)}', {chance.randrange(9)})" for _ in range(3)],
    )
    several = ", ".join(codes)
    return chance.choice(
        [
            f"INSERT INTO items (code, n) VALUES {several}",
            f"INSERT IGNORE INTO items (code, n) VALUES {several}, ('c1', 5000)",
            f"REPLACE INTO items (code, n) VALUES {several}",
            f"INSERT INTO items (code, n) VALUES ({code}, 1) ON DUPLICATE KEY UPDATE n = LEAST(n + 1, 999)",
            f"INSERT INTO items (code, n) VALUES ({code}, 7) ON DUPLICATE KEY UPDATE n = n",
            f"INSERT INTO items (id, code) VALUES ({some + 500}, {code})",
            f"INSERT IGNORE INTO items (code, n) SELECT CONCAT('c', n), id FROM parts ORDER BY id LIMIT {some}",
            f"REPLACE INTO items (code, f) SELECT DISTINCT CONCAT('c', id), 0.5 FROM parts WHERE id = {some}",
            f"INSERT IGNORE INTO lots (id, item, n) SELECT id + {other}, id, n FROM items ORDER BY id",
            f"INSERT IGNORE INTO lots (id, n) VALUES ({some}, {other}), ({other}, {some})",
            f"INSERT INTO parts VALUES ({some}, {other}), ({other}, 1) ON DUPLICATE KEY UPDATE n = VALUES(n) + n",
            f"REPLACE INTO parts SELECT id, n FROM items WHERE id < {some} ORDER BY id",
            f"DELETE FROM items WHERE n > {other} ORDER BY id LIMIT 2",
            "DELETE FROM items ORDER BY code DESC LIMIT 1",
            "DELETE FROM lots ORDER BY id DESC LIMIT 3",
            f"UPDATE lots SET n = n + {some} ORDER BY id LIMIT 5",
            f"UPDATE items SET n = LEAST(n + 1, 999), f = n / 3e0 WHERE code > {code}",
            "UPDATE items SET id = id + 1000 ORDER BY id DESC LIMIT 1",
            "UPDATE IGNORE items SET code = CONCAT('c', n) ORDER BY id",
            "UPDATE parts JOIN items ON items.id = parts.id SET parts.n = items.n + parts.n",
            f"UPDATE items SET n = (SELECT COUNT(*) + MAX(parts.n) MOD 50 FROM parts) WHERE id = {some}",
            f"DELETE parts FROM parts JOIN items ON items.n = parts.n WHERE items.id > {some}",
            f"UPDATE some_items SET n = {other} WHERE id > {some}",
            "INSERT INTO items (code, f) VALUES (LEFT(UUID(), 20), RAND()), (HEX(RANDOM_BYTES(8)), RAND())",
        ]
    )


def test_what_is_taken_gives_equal_rows_on_all_nodes(cluster: ClusterHandle) -> None:
    chance, told = random.Random(11), dict[int, int]()
    for number in range(600):
        sql = statement(chance)
        answer = cluster.query(sql)
        told[answer.status_code] = told.get(answer.status_code, 0) + 1
        # what MySQL says of it (a duplicate key, a failed check) is an answer; a refusal would test nothing
        assert answer.status_code in (200, 400, 409), f"{sql}: {answer.text}"
        assert answer.status_code == 200 or answer.json()["error"]["kind"] != "refused", f"{sql}: {answer.text}"
        if number % 200 == 199:
            wait_until_equal(cluster, within_s=5)
    print(f"status codes: {told}")
    assert told[200] > 300
    states = {node["state"] for node in cluster.get("coordinator", "/status").json()["nodes"].values()}
    assert states == {"level"}, "a node was quarantined"


@pytest.mark.parametrize("sql", REFUSED)
def test_what_could_differ_is_refused_and_explained(cluster: ClusterHandle, sql: str) -> None:
    answer = cluster.query(sql)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (400, "refused"), answer.text
    explained = cluster.explain(sql)
    assert (explained["kind"], explained["refusal"]["reason"]) == ("refused", answer.json()["message"])

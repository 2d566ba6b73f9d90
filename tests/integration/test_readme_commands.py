"""Every curl command of the README, typed as it stands there, in its order, answered in the shape that it promises."""

import pytest
from cluster_handle import ClusterHandle
from readme_commands import COMMANDS, check_shape, run


def test_the_readme_has_the_commands() -> None:
    assert len(COMMANDS) == 28, COMMANDS


@pytest.mark.parametrize("place", range(len(COMMANDS)))
def test_command_of_the_readme_works_as_written(cluster: ClusterHandle, place: int) -> None:
    check_shape(COMMANDS[place], run(cluster, COMMANDS[place]))


def test_the_row_has_the_timestamp_of_the_write_that_made_it(cluster: ClusterHandle) -> None:
    made = cluster.query(
        "INSERT INTO users (name, email) VALUES ('Alice', 'one@example.com'), ('Bob', 'two@example.com')"
    ).json()
    read = cluster.query(
        "SELECT email, timestamp FROM users WHERE email IN ('one@example.com', 'two@example.com')"
    ).json()
    assert [row["timestamp"] for row in read["data"]] == [made["timestamp"]] * 2
    assert read["rows_affected"] == 2


def test_timestamps_of_the_two_servers_are_odd_and_even(cluster: ClusterHandle) -> None:
    for number, name in ((1, "timestamp-1"), (0, "timestamp-2")):
        answer = cluster.get(name, "/timestamp?count=3").json()
        assert answer["timestamp"] % 2 == number
        assert answer["last"] == answer["timestamp"] + 4


def test_the_failover_demo(cluster: ClusterHandle) -> None:
    """The README's second test: stop the master, write, look who is master, start it again."""
    master = cluster.get("coordinator", "/status").json()["current_master"]
    cluster.stop(master)
    answer = cluster.query("INSERT INTO users (name, email) VALUES ('Charlie', 'charlie@example.com')").json()
    assert answer["success"] is True
    status = cluster.get("coordinator", "/status").json()
    assert status["current_master"] == answer["executed_on"] != master
    cluster.start(master)

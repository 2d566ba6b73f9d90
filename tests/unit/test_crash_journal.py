"""Restarts are counted over the collector's own restarts, and never forgotten by halves."""

import contextlib
import os
from itertools import pairwise
from pathlib import Path

import pytest
from crash_journal import FILE_NAME, CrashJournal, JournalError, ServerRun
from crashing_calls import crash_before
from hypothesis import given
from hypothesis import strategies as st


def run(started_at_s: int, server_uuid: str = "u1") -> ServerRun:
    return ServerRun(server_uuid, started_at_s)


def counts_in(folder: Path, *node_ids: str) -> list[int]:
    with contextlib.closing(CrashJournal.open(folder)) as journal:
        return [journal.crash_count(node_id) for node_id in node_ids]


def test_the_first_run_ever_seen_is_no_crash_and_every_other_run_is_one(tmp_path: Path) -> None:
    with contextlib.closing(CrashJournal.open(tmp_path)) as journal:
        counts = []
        for started_at_s in (100, 100, 105, 105, 90, 90):
            journal.saw("replica-1", run(started_at_s))
            counts.append(journal.crash_count("replica-1"))
        assert counts == [0, 0, 1, 1, 2, 2]
        assert journal.crash_count("replica-2") == 0


def test_a_node_rebuilt_with_a_new_data_folder_has_started_anew(tmp_path: Path) -> None:
    with contextlib.closing(CrashJournal.open(tmp_path)) as journal:
        journal.saw("replica-1", run(100, "u1"))
        journal.saw("replica-1", run(100, "u2"))
        assert journal.crash_count("replica-1") == 1


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 3)), max_size=30))
def test_counts_are_the_changes_from_run_to_run_counted_by_hand(
    tmp_path_factory: pytest.TempPathFactory, sightings: list[tuple[str, int]]
) -> None:
    with contextlib.closing(CrashJournal.open(tmp_path_factory.mktemp("journal"))) as journal:
        for node_id, started_at_s in sightings:
            journal.saw(node_id, run(started_at_s))
        for node_id in ("a", "b"):
            starts = [started for name, started in sightings if name == node_id]
            assert journal.crash_count(node_id) == sum(x != y for x, y in pairwise(starts))


def test_counts_survive_the_collectors_restart_and_a_restart_meanwhile_is_noticed(tmp_path: Path) -> None:
    with contextlib.closing(CrashJournal.open(tmp_path / "new" / "folder")) as journal:
        journal.saw("replica-1", run(100))
        journal.saw("replica-1", run(105))
        journal.saw("replica-2", run(100))
        assert not journal.is_durable
        journal.save()
        assert journal.is_durable
    with contextlib.closing(CrashJournal.open(tmp_path / "new" / "folder")) as journal:
        assert journal.is_durable
        journal.saw("replica-1", run(105))
        journal.saw("replica-2", run(200))
        assert [journal.crash_count(name) for name in ("replica-1", "replica-2")] == [1, 1]
        assert not journal.is_durable


@pytest.mark.parametrize("call", ["open", "fsync", "rename"])
@pytest.mark.parametrize("crash_before_nth", [1, 2])
def test_a_crash_at_any_step_of_saving_leaves_the_old_counts_or_the_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, crash_before_nth: int
) -> None:
    journal = CrashJournal.open(tmp_path)
    journal.saw("replica-1", run(1))
    journal.save()
    journal.saw("replica-1", run(2))
    with crash_before(monkeypatch, call, crash_before_nth):
        journal.save()
    journal.close()
    assert counts_in(tmp_path, "replica-1") in ([0], [1])


def test_what_was_seen_while_a_save_was_on_its_way_belongs_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = CrashJournal.open(tmp_path)
    journal.saw("replica-1", run(1))
    fsync = os.fsync

    def another_answer_comes(fd: int) -> None:
        journal.saw("replica-1", run(2))
        fsync(fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", another_answer_comes)
        journal.save()
    assert not journal.is_durable
    journal.save()
    journal.close()
    assert counts_in(tmp_path, "replica-1") == [1]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "rubbish",
        "{}",
        '{"nodes": 5}',
        '{"nodes": {"a": {"server_uuid": "u", "started_at_s": 1, "crash_count": -1}}}',
        '{"nodes": {"a": {"server_uuid": "u", "started_at_s": "1", "crash_count": 1}}}',
    ],
)
def test_a_damaged_file_refuses_the_start_and_says_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    for _ in range(2):
        with pytest.raises(JournalError, match=r"cannot be read.*move it away"):
            CrashJournal.open(tmp_path)


def test_two_collectors_cannot_share_a_folder(tmp_path: Path) -> None:
    first = CrashJournal.open(tmp_path)
    with pytest.raises(JournalError, match="in use by another process"):
        CrashJournal.open(tmp_path)
    first.close()
    first.close()
    assert counts_in(tmp_path, "replica-1") == [0]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(JournalError, match="cannot be used"):
        CrashJournal.open(tmp_path / "state")

"""The durable bound: every step of the write interrupted, every way in which the file can be unbelievable."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import reservation_file
from crashing_calls import crash_before
from reservation_file import FILE_NAME, MARKER_NAME, TEMPORARY_NAME, ReservationFile, StateFolderError


def bound_in(folder: Path, server_id: int = 1) -> int:
    with contextlib.closing(ReservationFile.open(folder, server_id)) as file:
        return file.reserved_until


def reserve_in(folder: Path, *bounds: int, server_id: int = 1) -> None:
    with contextlib.closing(ReservationFile.open(folder, server_id)) as file:
        for bound in bounds:
            file.reserve(bound)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the system calls that matter for durability, in the order in which they were made."""
    seen: list[str] = []

    def watch(name: str) -> None:
        original: Callable[..., Any] = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            seen.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    for name in ("fsync", "rename"):
        watch(name)
    return seen


def test_a_fresh_folder_is_a_first_start(tmp_path: Path) -> None:
    assert bound_in(tmp_path / "new" / "folder") == 0


def test_a_reserved_bound_is_read_back(tmp_path: Path) -> None:
    reserve_in(tmp_path, 100, 250)
    assert bound_in(tmp_path) == 250


def test_the_content_is_on_disk_before_the_rename_and_the_folder_after_it(tmp_path: Path, calls: list[str]) -> None:
    with contextlib.closing(ReservationFile.open(tmp_path, 1)) as file:
        file.reserve(100)
        assert calls == ["fsync", "rename", "fsync", "fsync"], "content, rename, marker, folder"
        calls.clear()
        file.reserve(200)
        assert calls == ["fsync", "rename", "fsync"]


@pytest.mark.parametrize("call", ["unlink", "open", "fsync", "rename"])
@pytest.mark.parametrize("crash_before_nth", [1, 2, 3])
@pytest.mark.parametrize("bound_before", [0, 100])
def test_a_crash_at_any_step_leaves_the_old_bound_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, crash_before_nth: int, bound_before: int
) -> None:
    if bound_before:
        reserve_in(tmp_path, bound_before)
    file = ReservationFile.open(tmp_path, 1)
    with crash_before(monkeypatch, call, crash_before_nth):
        file.reserve(200)
    file.close()
    assert bound_in(tmp_path) in (bound_before, 200)
    reserve_in(tmp_path, 300)
    assert bound_in(tmp_path) == 300


def test_a_failed_write_raises_and_the_next_one_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with contextlib.closing(ReservationFile.open(tmp_path, 1)) as file:
        file.reserve(100)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", disk_full)
            with pytest.raises(OSError, match="No space left"):
                file.reserve(200)
        assert file.reserved_until == 100
        file.reserve(210)
    assert bound_in(tmp_path) == 210


def test_a_bound_never_goes_back(tmp_path: Path) -> None:
    with contextlib.closing(ReservationFile.open(tmp_path, 1)) as file:
        file.reserve(100)
        with pytest.raises(ValueError, match="bound 99"):
            file.reserve(99)


def test_a_second_process_on_the_same_folder_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    first = ReservationFile.open(tmp_path, 1)
    with pytest.raises(StateFolderError, match="in use by another process"):
        ReservationFile.open(tmp_path, 1)
    first.close()
    first.close()
    assert bound_in(tmp_path) == 0


def test_a_refused_start_gives_the_lock_back(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("rubbish")
    for _ in range(2):
        with pytest.raises(StateFolderError, match="not JSON"):
            ReservationFile.open(tmp_path, 1)


def test_a_folder_that_was_removed_under_the_server_fails_the_reservation(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with contextlib.closing(ReservationFile.open(folder, 1)) as file:
        folder.rmdir()
        folder.mkdir()
        with pytest.raises(FileNotFoundError):
            file.reserve(100)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 134,
        b"17",
        b"{}",
        b"rubbish",
        b"x" * 5000,
        b'{"server_id": 1, "reserved_until": 100, "sha256": "0"}',
        b'{"server_id": 1, "reserved_until": "100", "sha256": "0"}',
        b'{"server_id": true, "reserved_until": 100, "sha256": "0"}',
    ],
)
def test_a_damaged_file_refuses_the_start_and_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    reserve_in(tmp_path, 100)
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(StateFolderError, match=r"is damaged.*does not start.*python reservation_file\.py .* 1 NUMBER"):
        ReservationFile.open(tmp_path, 1)


def test_every_changed_bit_of_the_numbers_is_noticed(tmp_path: Path) -> None:
    reserve_in(tmp_path, 123_456)
    file = tmp_path / FILE_NAME
    good = file.read_bytes()
    start = good.index(b"123456")
    for position in range(start, start + 6):
        for bit in range(8):
            changed = bytearray(good)
            changed[position] ^= 1 << bit
            file.write_bytes(changed)
            with pytest.raises(StateFolderError, match="is damaged"):
                ReservationFile.open(tmp_path, 1)


def test_a_bound_out_of_range_is_refused_though_its_checksum_fits(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(reservation_file._encode(1, -5))
    with pytest.raises(StateFolderError, match="not between 0"):
        ReservationFile.open(tmp_path, 1)


def test_the_other_servers_folder_is_refused(tmp_path: Path) -> None:
    reserve_in(tmp_path, 100, server_id=1)
    with pytest.raises(StateFolderError, match="belongs to timestamp server 1"):
        ReservationFile.open(tmp_path, 2)


def test_a_lost_file_in_a_folder_that_was_in_use_is_not_a_first_start(tmp_path: Path) -> None:
    reserve_in(tmp_path, 100)
    (tmp_path / FILE_NAME).unlink()
    with pytest.raises(StateFolderError, match=r"is missing.*initialised"):
        ReservationFile.open(tmp_path, 1)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StateFolderError, match="cannot be used"):
        ReservationFile.open(tmp_path / "state", 1)


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(StateFolderError, match="cannot be read"):
        ReservationFile.open(tmp_path, 1)


def test_what_a_first_start_that_died_early_left_behind_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / TEMPORARY_NAME).write_text("half")
    reserve_in(tmp_path, 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == [MARKER_NAME, FILE_NAME]
    assert json.loads((tmp_path / FILE_NAME).read_text())["reserved_until"] == 100


def test_the_repair_command_replaces_a_lost_bound(tmp_path: Path) -> None:
    reserve_in(tmp_path, 100)
    (tmp_path / FILE_NAME).write_text("rubbish")
    assert reservation_file._main([str(tmp_path), "1", "1000500"]) == ""
    assert bound_in(tmp_path) == 1_000_500


def test_the_repair_command_refuses_what_it_does_not_understand_and_a_running_server(tmp_path: Path) -> None:
    assert "usage" in reservation_file._main([str(tmp_path), "1"])
    assert "usage" in reservation_file._main([str(tmp_path), "1", "-5"])
    assert "SERVER_ID must be" in reservation_file._main([str(tmp_path), "3", "5"])
    with contextlib.closing(ReservationFile.open(tmp_path, 1)):
        assert "in use by another process" in reservation_file._main([str(tmp_path), "1", "5"])

"""The stack that the tests in containers share, and what is kept of it when one of them fails."""

from collections.abc import Generator, Iterator

import pytest
from stack import Stack, private_stack

FIGURES = pytest.StashKey[list[str]]()
HAS_FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def running_stack(pytestconfig: pytest.Config) -> Iterator[Stack]:
    with private_stack() as stack:
        pytestconfig.stash[FIGURES] = stack.figures
        yield stack


@pytest.fixture
def stack(
    running_stack: Stack, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """All ten containers, up and well. A test that harms something undoes it."""
    running_stack.mend()
    yield running_stack
    if request.node.stash.get(HAS_FAILED, False):
        running_stack.keep_evidence(tmp_path_factory.mktemp("evidence"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[HAS_FAILED] = report.failed
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What tests/README.md quotes."""
    for figure in config.stash.get(FIGURES, []):
        terminalreporter.write_line(figure)

"""A pytest plugin: runs the selected tests once, then forks a process for each change, which runs those it can break.

A test can notice a change only if it runs a line of the changed statement; of these tests the fastest run first, until
one fails. Nothing is imported or collected again, so that a process takes as long as its tests.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import coverage
import pytest

from tests.mutation.changes import Change, apply_change, index_functions, list_caches

MAX_TEST_SECONDS = 8.0  # slower tests are left out
MIN_LIMIT_S, MAX_SLOWDOWN = 10.0, 10.0  # a test with a change may take the sum of both before it counts as endless
MAX_EXTRA_BYTES = 6 << 30
PASSED, FAILED, BROKEN = 0, 1, 70  # exit codes of a forked process


@dataclass(frozen=True)
class Verdict:
    """What became of a change: 'killed', 'timeout', 'survived' or 'untested', and by which test."""

    outcome: str
    test: str = ''


class ForkedTests:
    """The plugin. When pytest has ended, `verdicts` has an entry for each change, by its identity.

    Args:
        changes: with absolute paths.
        package: folder of the package.
    """

    def __init__(self, changes: Sequence[Change], package: Path):
        self.changes, self.package = changes, package
        self.verdicts: dict[str, Verdict] = {}
        self.left_out: dict[str, str] = {}  # reasons, by test
        self.seconds: dict[str, float] = {}  # by test
        self.failed: set[str] = set()
        self.items: dict[str, pytest.Item] = {}
        self.sound: set[tuple[str, ...]] = set()  # tests that were seen to pass one after the other without a change

    def pytest_configure(self) -> None:
        """Let a failed property test end at once, rather than search for its smallest example."""
        from hypothesis import Phase, settings

        settings.register_profile('mutation', phases=[Phase.explicit, Phase.generate], database=None)
        settings.load_profile('mutation')

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.add(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        self._measure_tests()
        self.functions = index_functions(f'{self.package}{os.sep}')
        self.caches = list_caches(self.package.name)
        self._leave_out_tests()
        for number, change in enumerate(self.changes, 1):
            verdict = self._judge_change(change)
            self.verdicts[change.identity] = verdict
            print(f'{number}/{len(self.changes)} {verdict.outcome} {change.function} {verdict.test}', flush=True)
        return True

    def _measure_tests(self) -> None:
        """Run all tests in this process, and record which lines each of them runs."""
        measured = coverage.Coverage(data_file=None, config_file=False, include=[f'{self.package}/*'], messages=False)
        measured.start()
        items = list(self.items.values())
        for item, next_item in zip(items, [*items[1:], None], strict=True):
            measured.switch_context(item.nodeid)
            item.ihook.pytest_runtest_protocol(item=item, nextitem=next_item)
        measured.stop()
        data = measured.get_data()
        files = {change.file for change in self.changes}
        self.tests_by_line = {file: data.contexts_by_lineno(file) for file in files}

    def _leave_out_tests(self) -> None:
        """Leave out the tests that fail, that are slow, and that fail when they run again."""
        self.left_out |= dict.fromkeys(self.failed, 'fails')
        slow = (test for test, seconds in self.seconds.items() if seconds > MAX_TEST_SECONDS)
        self.left_out |= dict.fromkeys(slow, f'takes more than {MAX_TEST_SECONDS:g} s')
        remaining = sorted(set(self.items) - set(self.left_out), key=self._get_seconds)
        self.failed.clear()
        _, lines = self._fork(remaining, stop=False)
        self.left_out |= {line[5:]: 'fails when it runs again' for line in lines if line.startswith('fail ')}

    def _get_seconds(self, test: str) -> float:
        return self.seconds[test]

    def _judge_change(self, change: Change) -> Verdict:
        lines = self.tests_by_line[change.file]
        tests = {test for line in change.lines for test in lines.get(line, ())} - set(self.left_out) - {''}
        ordered = sorted(tests, key=self._get_seconds)
        while ordered:
            outcome, output = self._fork(ordered, change)
            if outcome == 'survived':
                return Verdict(outcome)
            started = [line[4:] for line in output if line.startswith('run ')]
            if outcome == 'timeout' or self._check_sound(started):
                return Verdict(outcome, started[-1])
            self.left_out[started[-1]] = 'fails after other tests'
            ordered.remove(started[-1])
        return Verdict('untested')

    def _check_sound(self, tests: Sequence[str]) -> bool:
        """Whether these tests pass without a change, one after the other."""
        key = tuple(tests)
        if key not in self.sound and self._fork(tests)[0] == 'survived':
            self.sound.add(key)
        return key in self.sound

    def _fork(self, tests: Sequence[str], change: Change | None = None, stop: bool = True) -> tuple[str, list[str]]:
        """Run tests in a process of their own: the outcome, and the lines that the process wrote."""
        with tempfile.TemporaryFile('w+') as output, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            child = os.fork()
            if child == 0:
                code = BROKEN
                try:
                    self._prepare_child(Path(folder))
                    code = self._run_tests(tests, change, stop, output.fileno())
                finally:
                    os._exit(code)
            _, status = os.waitpid(child, 0)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            output.seek(0)
            lines = output.read().splitlines()
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == BROKEN:
            raise RuntimeError(f'a forked process could not begin: {change}')
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
            return 'timeout', lines
        return 'survived' if status == 0 else 'killed', lines

    def _prepare_child(self, folder: Path) -> None:
        """Give the forked process a group, a folder for `tmp_path` and limits, and forget what functions returned."""
        os.setpgid(0, 0)
        config = next(iter(self.items.values())).config
        config.pluginmanager.unregister(config.pluginmanager.getplugin('terminalreporter'))
        config._tmp_path_factory._basetemp = folder  # type: ignore[attr-defined]
        _limit_memory()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        for cache in self.caches:
            cache.cache_clear()

    def _run_tests(self, tests: Sequence[str], change: Change | None, stop: bool, output: int) -> int:
        """Run tests in the forked process."""
        if change is not None and not apply_change(change, self.functions):
            return PASSED
        for test, next_test in zip(tests, [*tests[1:], None], strict=True):
            os.write(output, f'run {test}\n'.encode())
            signal.setitimer(signal.ITIMER_REAL, MIN_LIMIT_S + MAX_SLOWDOWN * self.seconds[test])
            if not self._passes(test, next_test):
                os.write(output, f'fail {test}\n'.encode())
                if stop:
                    return FAILED
        return PASSED

    def _passes(self, test: str, next_test: str | None) -> bool:
        item = self.items[test]
        next_item = self.items[next_test] if next_test else None
        try:
            item.ihook.pytest_runtest_protocol(item=item, nextitem=next_item)
        except BaseException:  # also a test session's end: the change has reached pytest
            return False
        return test not in self.failed


def _limit_memory() -> None:
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    limit = pages * resource.getpagesize() + MAX_EXTRA_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

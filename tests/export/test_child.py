"""A converter that fails, crashes or hangs is one clear error here."""

import os
import sys
import time
from pathlib import Path

import pytest

from edge.export.child import run_child
from edge.runtime.errors import ConversionError, ResourceError


def run(code: str, log: Path, timeout_s: float = 30.0) -> None:
    run_child([sys.executable, "-c", code], log=log, timeout_s=timeout_s)


def test_what_it_prints_goes_to_the_log_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run("print('hello'); import sys; print('there', file=sys.stderr)", tmp_path / "log")

    assert capfd.readouterr() == ("", "")
    assert set((tmp_path / "log").read_text().split()) == {"hello", "there"}


def test_a_failure_names_its_last_line_and_its_log(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="unsupported op FOO") as caught:
        run("import sys; print('noise'); sys.exit('unsupported op FOO')", tmp_path / "log")

    assert str(tmp_path / "log") in str(caught.value.hint)


def test_a_crash_names_the_signal(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="SIGABRT"):
        run("import os; os.abort()", tmp_path / "log")


def test_a_hang_ends_at_the_limit_with_all_its_children(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time; "
        f"p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    with pytest.raises(ResourceError, match="time limit, expected at most 2 s"):
        run(code, tmp_path / "log", timeout_s=2.0)

    grandchild = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not _alive(grandchild):
            return
        time.sleep(0.05)
    pytest.fail("the grandchild outlived its parent")


@pytest.mark.parametrize("said", ["OSError: [Errno 28] No space left on device", "MemoryError"])
def test_a_resource_that_ran_out_is_told_from_a_failure(tmp_path: Path, said: str) -> None:
    with pytest.raises(ResourceError):
        run(f"import sys; sys.exit({said!r})", tmp_path / "log")


def test_secrets_of_the_environment_stay_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "hunter2")

    run("import os; print(dict(os.environ))", tmp_path / "log")

    assert "hunter2" not in (tmp_path / "log").read_text()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"

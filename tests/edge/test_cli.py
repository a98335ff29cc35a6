"""The frame of the command line: what it imports, which line and which code each way out has."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from edge import __version__, cli
from edge.runtime import errors

HEAVY = ("numpy", "PIL", "torch", "onnx", "onnxruntime", "tensorflow", "ai_edge_litert", "rich", "asyncio")
Verb = Callable[[Callable[[], object]], None]


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Verb:
    """Return a function that makes `edge try` call something."""

    def install(action: Callable[[], object]) -> None:
        module = types.ModuleType("edge.commands.try")
        module.command = click.Command("try", callback=action)  # type: ignore[attr-defined]  # what a verb exposes
        monkeypatch.setitem(sys.modules, "edge.commands.try", module)
        monkeypatch.setitem(cli.VERBS, "try", "Try something.")

    return install


def raising(error: BaseException) -> Callable[[], object]:
    def action() -> object:
        raise error

    return action


def edge(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload,no-any-return]  # options of run()


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["nonsense"], []])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    program = (
        "import json, sys\n"
        "from edge.cli import main\n"
        f"main({words!r})\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_importing_the_runtime_pulls_no_engine_and_no_framework() -> None:
    program = (
        "import json, sys\nimport edge.runtime\nfrom edge.runtime import Card, read_card\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == []


def test_python_dash_m_and_the_version() -> None:
    done = edge("--version")

    assert (done.returncode, done.stdout.strip()) == (0, f"edge, version {__version__}")


@pytest.mark.parametrize("name", list(cli.VERBS))
def test_each_verb_has_help_with_an_example(name: str) -> None:
    done = edge(name, "--help")

    assert done.returncode == 0, done.stderr
    assert re.search(rf"Examples?:\n +edge {name}", done.stdout)


def _examples() -> list[tuple[str, list[str]]]:
    """Return every example of every verb and sub-verb: its words as a shell would split them."""
    found = []
    for name in cli.VERBS:
        command = cli.cli.get_command(click.Context(cli.cli), name)
        assert command is not None
        group = isinstance(command, click.Group)
        commands = [command, *command.commands.values()] if isinstance(command, click.Group) else [command]
        for one in commands:
            text = re.split(r"Examples?:\n", one.help or "")
            assert len(text) == 2, f"{name} {one.name if group else ''} has no example"
            lines = text[1].replace("\\\n", " ").splitlines()
            found += [(f"{name} {one.name}", shlex.split(line, comments=True)) for line in lines if line.strip()]
    return found


@pytest.mark.parametrize(("owner", "words"), _examples(), ids=lambda value: " ".join(value)[:60])
def test_every_example_in_help_parses(owner: str, words: list[str]) -> None:
    """As far as click goes: verbs, options, values and the number of arguments; nothing is run."""
    text = " ".join(words)
    calls = [call.split() for call in re.findall(r"(?:^|\| |-m |<\()edge ([^|>)]*)", text)]
    assert calls, text

    for verb, *rest in calls:
        command = cli.cli.get_command(click.Context(cli.cli), verb)
        assert command is not None, verb
        if isinstance(command, click.Group):
            command, rest = command.get_command(click.Context(command), rest[0]), rest[1:]
            assert command is not None
        with command.make_context(verb, list(rest)):
            pass


def test_a_mistyped_verb_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["exprot"]) == 2
    assert capsys.readouterr().err == "error: there is no verb `exprot`; hint: did you mean `edge export`?\n"


@pytest.mark.parametrize("words", [["--bogus"], ["doctor", "--bogus"], ["run"], ["run", "a", "b", "--threads", "x"]])
def test_bad_usage_is_one_line_with_a_hint(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "--help`" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (errors.ParityError("off", got=1), 1, "off, got 1"),
        (errors.CardError("bad", hint="mend it"), 2, "bad; hint: mend it"),
        (errors.GateError("no"), 3, "no"),
        (errors.DeviceError("gone"), 4, "gone"),
        (errors.ResourceError("full"), 5, "full"),
        (errors.InconclusiveError("noisy"), 6, "noisy"),
        (OSError(errno.ENOSPC, "No space left on device", "out.png"), 5, "`out.png`, got No space left"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "out.png"), 5, "quota"),
        (PermissionError(errno.EACCES, "Permission denied", "out.png"), 2, "`out.png`, got Permission denied"),
        (OSError(errno.EROFS, "Read-only file system", "out.png"), 2, "Read-only"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a\x1b[31m\nb"), 2, r"`a\x1b[31m b`"),
        (MemoryError(), 5, "out of memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
        (click.BadParameter("Not good."), 2, "invalid value: Not good; hint"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 2, "pip install 'edge-vision[export]'"),
    ],
)
def test_each_error_has_its_code_and_one_line(
    error: BaseException, code: int, says: str, verb: Verb, capsys: pytest.CaptureFixture[str]
) -> None:
    verb(raising(error))

    assert cli.main(["try"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert len(err) <= 301


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("train", "torch", "train"), ("eval", "faster_coco_eval", "eval"), ("eval", "torch", "train")],
)
def test_a_missing_package_names_the_extra_of_its_verb(
    name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = types.ModuleType(f"edge.commands.{name}")
    action = raising(ModuleNotFoundError(f"No module named '{package}'", name=package))
    module.command = click.Command(name, callback=action)  # type: ignore[attr-defined]  # what a verb exposes
    monkeypatch.setitem(sys.modules, f"edge.commands.{name}", module)

    assert cli.main([name]) == 2
    assert f"pip install 'edge-vision[{extra}]'" in capsys.readouterr().err


def test_a_bug_is_saved_to_a_file_that_the_line_names(
    verb: Verb, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    verb(raising(ZeroDivisionError("oops")))

    assert cli.main(["try"]) == 70
    err = capsys.readouterr().err
    (saved,) = tmp_path.iterdir()
    assert str(saved) in err
    assert err.count("\n") == 1
    assert "Traceback" in saved.read_text()
    assert saved.stat().st_mode & 0o077 == 0


def test_a_bug_whose_traceback_cannot_be_saved_is_still_one_line(
    verb: Verb, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    verb(raising(ZeroDivisionError("oops")))

    assert cli.main(["try"]) == 70
    assert capsys.readouterr().err.count("\n") == 1


def test_debug_shows_the_traceback_by_option_and_by_variable(
    verb: Verb, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verb(raising(errors.CardError("bad")))

    assert cli.main(["--debug", "try"]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("EDGE_DEBUG", "1")
    assert cli.main(["try"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_the_code_that_a_verb_returns_is_the_code_of_the_process(verb: Verb) -> None:
    verb(lambda: 3)

    assert cli.main(["try"]) == 3


SLOW = (
    "import sys, time, types, click\n"
    "from edge import cli\n"
    "def action():\n"
    "    print('ready', flush=True)\n    time.sleep(60)\n"
    "module = types.ModuleType('edge.commands.slow')\n"
    "module.command = click.Command('slow', callback=action)\n"
    "sys.modules['edge.commands.slow'] = module\n"
    "cli.VERBS['slow'] = ''\n"
    "sys.exit(cli.main(['slow']))\n"
)


@pytest.mark.parametrize(
    ("number", "code", "says"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "term")]
)
def test_a_signal_ends_with_its_code_and_one_line(number: signal.Signals, code: int, says: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=60)

    assert process.returncode == code
    assert says in err
    assert err.count("\n") == 1


def test_a_line_that_is_too_long_keeps_its_reason_and_its_hint() -> None:
    error = errors.InputError(f"cannot read `{'x' * 500}`: no such file", hint="look elsewhere")

    line = errors.one_line(error)

    assert len(line) == 300
    assert line.startswith("error: cannot read `xxx")
    assert line.endswith("xxx`: no such file; hint: look elsewhere")


# As SLOW, with something to clean up, which a second signal finds under way.
UNTIDY = SLOW.replace(
    "    print('ready', flush=True)\n    time.sleep(60)\n",
    "    try:\n"
    "        print('ready', flush=True)\n"
    "        time.sleep(60)\n"
    "    finally:\n"
    "        print('cleaning', flush=True)\n"
    "        sys.stdin.readline()\n"
    "        print('clean', flush=True)\n",
)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_cut_off_what_the_first_one_cleans_up(second: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", UNTIDY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "cleaning\n"
        process.send_signal(second)
        out, err = process.communicate("go on\n", timeout=60)

    assert (process.returncode, out, err) == (130, "clean\n", "error: interrupted\n")


def test_a_later_signal_leaves_a_clean_up_that_hangs() -> None:
    hurried = UNTIDY.replace("sys.exit(", "cli.PATIENCE_S = 0.0\nsys.exit(")
    with subprocess.Popen(
        [sys.executable, "-c", hurried],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "cleaning\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert process.stdout.read() == ""


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with (tmp_path / "err").open("w+") as err:
        done = subprocess.run(
            [sys.executable, "-m", "edge", "doctor"], stdout=write, stderr=err, timeout=120, check=False
        )
        os.close(write)
        err.seek(0)

        assert (done.returncode, err.read()) == (0, "")


JUDGE = """
import sys, types
import click
from edge import cli
from edge.run_output import print_result

def judge():
    print_result("no")
    return 1

module = types.ModuleType("edge.commands.judge")
module.command = click.Command("judge", callback=judge)
sys.modules[module.__name__] = module
cli.VERBS["judge"] = "Judge."
sys.exit(cli.main(["judge"]))
"""


def test_a_reader_that_leaves_early_takes_no_verdict_with_it() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", JUDGE], stdout=write, stderr=subprocess.PIPE, text=True, timeout=120, check=False
    )
    os.close(write)

    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_stdout_is_a_resource_error() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edge", "doctor"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert done.returncode == 5
    assert "No space left" in done.stderr
    assert done.stderr.count("\n") == 1

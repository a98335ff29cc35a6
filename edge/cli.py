"""The `edge` command: a group that imports a verb when it is asked for, and the one place that prints errors.

A verb is a module `edge.commands.<verb>` with a click command called `command`. Whatever leaves a verb becomes one
line on stderr and an exit code: 0 done, 1 failed, 2 usage or input refused, 3 a gate said no, 4 device, 5 resource
limit, 6 inconclusive, 70 a bug of ours (traceback saved to a file), 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import importlib
import io
import math
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from time import monotonic
from types import FrameType

import click
from click.shell_completion import CompletionItem, shell_complete

from . import __version__
from .runtime.errors import EdgeError, InputError, MissingExtraError, ResourceError, one_line

__all__ = ["VERBS", "cli", "main"]

# verb -> its line in `edge --help`, so that help imports no verb.
VERBS = {
    "models": "List the built-in models, or show one.",
    "train": "Train a model, on a data set or on generated samples.",
    "distill": "Train a model with a better one as its teacher.",
    "prune": "Take filters out of the face detector by B-FPGM: search, soften, remove, fine-tune.",
    "export": "Turn checkpoints into ONNX and TFLite files, with proof.",
    "run": "Decode pictures, video, a camera or sound with an exported file.",
    "eval": "Measure how good files and checkpoints are, with intervals.",
    "bench": "Measure how long files take, on this machine and on others.",
    "gate": "Hold files against the budgets of edge.toml: yes, no, or cannot tell.",
    "config": "Show or check edge.toml, or print its JSON Schema.",
    "report": "Write one HTML page that shows what was exported, and which file to ship.",
    "compare": "Say what differs between two results, or which of two files is slower.",
    "history": "Keep results in a local database, and look at them again.",
    "verify": "Check a bundle: every hash, card and precision; optionally its signature.",
    "sign": "Sign a bundle with a key of your own.",
    "data": "Check a data set sample by sample, or draw some of it.",
    "doctor": "Say what is installed, what is missing, and how to mend it.",
    "completion": "Print a script that teaches bash, zsh or fish to complete `edge`.",
}
# verb -> what to install where a package is missing; the other verbs need the extra "export".
EXTRAS = {
    "train": "train",
    "distill": "train",
    "prune": "train",
    "eval": "eval",
    "data": "eval",
    "bench": "litert",
    "gate": "gate",
    "report": "report",
    "compare": "litert",
}
EXIT_BUG = 70
PATIENCE_S = 2.0  # after a signal, in which what it started is cleaned up undisturbed
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EMFILE, errno.ENFILE}


class _Verbs(click.Group):
    """A group whose commands are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f".commands.{cmd_name}", __package__).command
        # Docstrings are raw in house style, where click's mark for "do not wrap" stays two characters.
        command.help = (command.help or "").replace("\\b\n", "\b\n")
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Return what may follow `edge `, without importing a verb."""
        verbs = [CompletionItem(verb, help=line) for verb, line in VERBS.items() if verb.startswith(incomplete)]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not args[0].startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], VERBS, 1, cutoff=0.5)
            hint = f"did you mean `edge {near[0]}`?" if near else f"verbs: {', '.join(VERBS)}"
            raise InputError(f"there is no verb `{args[0]}`", hint=hint)
        return super().resolve_command(ctx, args)


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False)
@click.version_option(__version__, prog_name="edge")
@click.option("--debug", is_flag=True, help="Show the traceback of an error; EDGE_DEBUG=1 does the same.")
def cli(debug: bool) -> None:
    """From a PyTorch checkpoint to files that a phone or a Raspberry Pi runs, with proof.

    Data goes to stdout, progress and errors to stderr.

    \b
    Example:
        edge export face-retina-mnet025 --precision int8
        edge run face-retina-mnet025-int8.onnx photo.jpg --draw seen.png
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Args:
        args: the words after `edge`; those of this process when None.
    """
    _open_closed_streams()
    words = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in words or os.environ.get("EDGE_DEBUG", "") not in ("", "0")
    code = 0
    try:
        with _signals_raise():
            code = _invoke(words or ["--help"])
            sys.stdout.flush()  # a full disk shows here, while it can still be told
    except BrokenPipeError:  # the reader, `head` for one, has had enough; what the verb had decided stands
        _abandon_stdout()
    except BaseException as exc:  # every way out of a verb ends in one line and a code
        code = _explain(exc, debug, next((word for word in words if word in VERBS), ""))
        _abandon_stdout()
    return code


def _invoke(words: list[str]) -> int:
    """Run the group without `click.main`, which prints interrupts and broken pipes in its own way."""
    if instruction := os.environ.get("_EDGE_COMPLETE"):  # the shell asks for completions
        return shell_complete(cli, {}, "edge", "_EDGE_COMPLETE", instruction)
    colour = False if os.environ.get("NO_COLOR") else None
    try:
        with cli.make_context("edge", words, color=colour) as context:
            result = cli.invoke(context)
    except click.exceptions.Exit as exc:  # --help, --version
        return exc.exit_code
    return result if isinstance(result, int) else 0


def _open_closed_streams() -> None:
    """Give standard streams that the caller closed (`>&-`) the null device, lest the next file takes their number."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open until the end


class _Terminated(BaseException):
    """SIGTERM came."""


def _explain(exc: BaseException, debug: bool, verb: str) -> int:
    """Say on stderr what happened and return the exit code."""
    if isinstance(exc, SystemExit):
        return exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    if isinstance(exc, KeyboardInterrupt | click.Abort):
        return _say(EdgeError("interrupted"), 130)
    if isinstance(exc, _Terminated):
        return _say(EdgeError("terminated"), 143)
    if debug:
        with contextlib.suppress(OSError):
            traceback.print_exception(exc)
    told = _as_edge_error(exc, verb)
    if told is not None:
        return _say(told, told.exit_code)
    return _say(_bug(exc), EXIT_BUG)


def _as_edge_error(exc: BaseException, verb: str) -> EdgeError | None:
    """Return what a foreign exception means to a user, or None where it is a bug of ours."""
    if isinstance(exc, EdgeError):
        return exc
    if isinstance(exc, click.ClickException):
        context = getattr(exc, "ctx", None)
        path = context.command_path if context is not None else "edge"
        message = exc.format_message().rstrip(".")
        return InputError(message[:1].lower() + message[1:], hint=f"see `{path} --help`")
    if isinstance(exc, MemoryError):
        return ResourceError("out of memory", hint="close other programs, or use fewer threads or a smaller input")
    if isinstance(exc, OSError) and exc.errno is not None:
        # Of a copy that found no room the second name is the full place.
        name = (exc.filename2 if exc.errno in _NO_ROOM else None) or exc.filename
        where = f"`{os.fsdecode(name)}`" if isinstance(name, str | bytes | os.PathLike) else "a file or stdout"
        if exc.errno in _NO_ROOM:
            return ResourceError(f"cannot use {where}", got=exc.strerror, hint="free some space, or write elsewhere")
        return InputError(f"cannot use {where}", got=exc.strerror)
    if isinstance(exc, ModuleNotFoundError) and exc.name and not exc.name.startswith("edge"):
        extra = EXTRAS.get(verb, "export")
        if extra == "eval" and exc.name in ("torch", "safetensors"):  # which only checkpoints need
            extra = "train"
        return MissingExtraError(f"this needs the package {exc.name}", hint=f"pip install 'edge-vision[{extra}]'")
    return None


def _bug(exc: BaseException) -> EdgeError:
    """Save the traceback and return the error that names the file."""
    text = "".join(traceback.format_exception(exc))
    what = f"bug in edge: {type(exc).__name__}: {str(exc)[:100]}"
    try:
        handle, path = tempfile.mkstemp(prefix="edge-crash-", suffix=".log")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(f"edge {__version__}, Python {sys.version}\n{text}")
    except OSError as failed:
        return EdgeError(what, hint=f"run again with --debug; the traceback could not be saved: {failed.strerror}")
    return EdgeError(what, hint=f"please report it with {path}")


def _say(error: EdgeError, code: int) -> int:
    with contextlib.suppress(OSError, ValueError):  # stderr may be closed or full, which changes no exit code
        sys.stderr.write(one_line(error) + "\n")
        sys.stderr.flush()
    return code


def _abandon_stdout() -> None:
    """Keep what is left in stdout's buffer from failing once more, and louder, when the interpreter ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Let SIGTERM unwind like Ctrl-C, so that temporary files go and children end; and let neither cut that off.

    A signal that follows another within `PATIENCE_S` is passed over: launchers that forward Ctrl-C to a child that the
    terminal has told already send it twice. A later one is heard, so that a clean-up that hangs can be left.
    """
    last = -math.inf

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        if monotonic() - last > PATIENCE_S:
            last = monotonic()
            raise KeyboardInterrupt if number == signal.SIGINT else _Terminated

    # Where Ctrl-C is ignored, as in the background of a shell, or somebody else's, it stays so.
    numbers = [signal.SIGTERM, *[signal.SIGINT] * (signal.getsignal(signal.SIGINT) is signal.default_int_handler)]
    before = {}
    try:
        for number in numbers:
            before[number] = signal.signal(number, interrupt)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""A real sshd of our own on 127.0.0.1, for trying devices behind SSH without one.

It has its own keys, its own port and its own configuration in a folder, changes nothing outside it, takes no password,
and lets in nobody but the user who started it. Sessions run a script that sets up what they see.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from time import monotonic, sleep

from ..runtime.errors import DeviceError, MissingExtraError

__all__ = ["HOST", "LoopbackSshd", "missing_ssh", "native_session"]

HOST = "edge-loopback"  # in the client configuration that is written
START_S = 10.0


def missing_ssh() -> str:
    """Return why no sshd can be started here; "" where one can."""
    absent = [name for name in ("ssh", "ssh-keygen") if shutil.which(name) is None]
    absent += ["sshd"] if _sshd() is None else []
    return f"no {', '.join(absent)} on this machine" if absent else ""


def native_session(folder: Path) -> Path:
    """Return a session script that runs commands on this machine with a home of their own, `home` in a folder."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    return write_session(folder, [f"export HOME={folder / 'home'}", "unset XDG_CACHE_HOME"])


def write_session(folder: Path, lines: list[str]) -> Path:
    """Write the script that every session runs: some lines of sh, then what the client asked for."""
    script = folder / "session"
    script.write_text(
        "\n".join(["#!/bin/sh", *lines, 'cd "$HOME" || exit 1', 'exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"', ""])
    )
    script.chmod(0o755)
    return script


class LoopbackSshd:
    """A running sshd; a context manager.

    Args:
        folder: for keys, configuration and log; its path has no spaces.
        session: script that each session runs.

    Attributes:
        port: that it listens on.
        ssh_config: for `ssh -F`, with a host called `HOST`.
        log: what sshd says.

    Raises:
        MissingExtraError: there is no sshd here.
        DeviceError: it did not start.
    """

    def __init__(self, folder: Path, session: Path) -> None:
        if missing := missing_ssh():
            raise MissingExtraError(missing, hint="apt-get install openssh-server openssh-client")
        self.folder = folder.resolve()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.ssh_config = self.folder / "ssh_config"
        self.known_hosts = self.folder / "known_hosts"
        self.log = self.folder / "sshd.log"
        self.port = _free_port()
        self._write_keys()
        self._write_server(session.resolve())
        self._write_client()
        self._process = self._started()

    def __enter__(self) -> LoopbackSshd:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def sessions(self) -> list[int]:
        """Return the process numbers of all that runs under this sshd."""
        return _descendants(self._process.pid)

    def stop(self) -> None:
        """End sshd and all sessions."""
        for pid in [*self.sessions(), self._process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def forget_host_key(self) -> None:
        """Leave the client without a known host."""
        self.known_hosts.write_text("")

    def change_known_host_key(self) -> None:
        """Let the client know another key of this host than it has."""
        other = self.folder / "other_key"
        _make_key(other)
        self._write_known_host(other)

    def _write_keys(self) -> None:
        for name in ("host_key", "user_key"):
            _make_key(self.folder / name)
        shutil.copy(self.folder / "user_key.pub", self.folder / "authorized_keys")
        self._write_known_host(self.folder / "host_key")

    def _write_known_host(self, key: Path) -> None:
        kind, text = key.with_name(key.name + ".pub").read_text().split()[:2]
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {text}\n")

    def _write_server(self, session: Path) -> None:
        (self.folder / "sshd_config").write_text(
            f"""ListenAddress 127.0.0.1
Port {self.port}
HostKey {self.folder}/host_key
PidFile none
AuthorizedKeysFile {self.folder}/authorized_keys
AllowUsers {_user()}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PrintMotd no
PrintLastLog no
X11Forwarding no
LogLevel VERBOSE
ForceCommand {session}
"""
        )

    def _write_client(self) -> None:
        self.ssh_config.write_text(
            f"""Host {HOST}
    HostName 127.0.0.1
    Port {self.port}
    User {_user()}
    IdentityFile {self.folder}/user_key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {self.known_hosts}
    GlobalKnownHostsFile none
"""
        )

    def _started(self) -> subprocess.Popen[bytes]:
        command = [str(_sshd()), "-D", "-f", str(self.folder / "sshd_config"), "-E", str(self.log)]
        if os.geteuid() == 0 and not Path("/run/sshd").is_dir():
            # sshd of root wants this folder: it gets one that nobody else sees.
            script = 'mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = monotonic() + START_S
        while monotonic() < end and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return process
            sleep(0.05)
        process.kill()
        process.wait()
        said = self.log.read_text(errors="replace")[-100:].strip() if self.log.exists() else ""
        raise DeviceError("sshd did not start", got=said or f"exit code {process.returncode}")


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = entry.read_text(errors="replace").rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def _make_key(path: Path) -> None:
    for old in (path, path.with_name(path.name + ".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "edge", "-f", str(path)], check=True)


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _sshd() -> str | None:
    return shutil.which("sshd", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port

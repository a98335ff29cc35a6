"""The GitHub Action and the GitLab template: their shell steps run here, as their runners would run them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
yaml = pytest.importorskip("yaml")

from .gate_demo import write_demo  # noqa: E402

ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github" / "actions" / "edge-gate" / "action.yml"
GITLAB = ROOT / "docs" / "ci" / "edge-gate.gitlab-ci.yml"
WORKFLOWS = [ACTION, *sorted((ROOT / ".github" / "workflows").glob("*.yml"))]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the action's own install step installs, from a copy of this repository, without its dependencies."""
    root = tmp_path_factory.mktemp("action")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if not (ROOT / name).is_symlink():  # a wheel must not need the links
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    target = root / "site"
    path = root / ".github" / "actions" / "edge-gate"
    offline = {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_TARGET": str(target)}
    done = step("Install", root, {**offline, "EDGE_ACTION": str(path), "EDGE_PACKAGE": ""})
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    root = tmp_path / "demo"
    root.mkdir()
    write_demo(root)
    (root / "edge.toml").write_text('[[budget]]\nmodel = "demo"\nsize_bytes = 2_000_000\nparity = 30\n')
    return root


def environment(**more: str) -> dict[str, str]:
    """Return an environment whose `python` is this one, without what a CI system sets."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "EDGE_", "PYTHON"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    return {**kept, "EDGE_CACHE": os.environ["EDGE_CACHE"], "PATH": path, **more}


def action() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    return loaded


def step(name: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a step as the runner does: its inputs are environment variables, `shell: bash` stops at an error."""
    (found,) = (one for one in action()["runs"]["steps"] if one.get("name") == name)
    assert found["shell"] == "bash"
    assert "${{" not in found["run"]  # an input in the script itself could run as a command
    given = {key: _input(value) for key, value in found["env"].items()} | env
    words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found["run"]]
    return subprocess.run(words, cwd=folder, env=environment(**given), capture_output=True, text=True, check=False)


def _input(value: str) -> str:
    named = re.fullmatch(r"\$\{\{ inputs\.([a-z]+) \}\}", value)
    return action()["inputs"][named[1]]["default"] if named else ""


def github(demo: Path, site: Path, **env: str) -> subprocess.CompletedProcess[str]:
    told = {
        "PATH": f"{site / 'bin'}{os.pathsep}{environment()['PATH']}",
        "PYTHONPATH": str(site),
        "GITHUB_ACTIONS": "true",
        "GITHUB_OUTPUT": str(demo / "output"),
        "GITHUB_STEP_SUMMARY": str(demo / "page.md"),
        "GITHUB_WORKSPACE": str(demo),
    }
    return step("Gate", demo, {**told, **env})


def test_the_action_passes_and_fails_as_the_gate_does(demo: Path, site: Path) -> None:
    done = github(demo, site, EDGE_TARGETS="bundle", EDGE_STAGES="file accuracy")
    assert done.returncode == 0, done.stderr
    assert (demo / "output").read_text() == "exit-code=0\n"
    assert "### ✅ edge gate: pass" in (demo / "page.md").read_text(encoding="utf-8")
    assert (demo / "edge-gate.xml").exists()

    (demo / "edge.toml").write_text('[[budget]]\nmodel = "demo"\nsize_bytes = 7\n')
    done = github(demo, site, EDGE_TARGETS="bund*")
    assert done.returncode == 3, done.stderr
    assert (demo / "output").read_text().endswith("exit-code=3\n")
    assert "::error file=edge.toml,line=3,title=edge gate%3A size_bytes::demo-fp16.onnx" in done.stderr
    assert "❌" in (demo / "page.md").read_text(encoding="utf-8")


def test_no_input_of_the_action_is_a_command(demo: Path, site: Path) -> None:
    (gate,) = (one for one in action()["runs"]["steps"] if one.get("name") == "Gate")
    texts = ("$(touch canary)", "`touch canary`; touch canary")

    for text in texts:
        done = github(demo, site, **dict.fromkeys(gate["env"], text))
        assert done.returncode == 2, done.stderr

    assert not (demo / "canary").exists()


def test_the_gitlab_template_passes_and_fails_as_the_gate_does(demo: Path, site: Path) -> None:
    job = yaml.safe_load(GITLAB.read_text(encoding="utf-8"))["edge-gate"]
    path = f"{site / 'bin'}{os.pathsep}{environment()['PATH']}"

    def run(**env: str) -> subprocess.CompletedProcess[str]:
        given = environment(**job["variables"], **{"PATH": path, "PYTHONPATH": str(site)})
        script = "\n".join(job["script"])
        words = ["sh", "-ec", script]
        return subprocess.run(words, cwd=demo, env={**given, **env}, capture_output=True, text=True, check=False)

    done = run(EDGE_TARGETS="bundle", EDGE_STAGES="file")
    assert done.returncode == 0, done.stderr
    assert all((demo / name).exists() for name in job["artifacts"]["paths"])
    assert job["artifacts"]["reports"]["junit"] in job["artifacts"]["paths"]

    (demo / "edge.toml").write_text('[[budget]]\nmodel = "demo"\nsize_bytes = 7\n')
    assert run(EDGE_TARGETS="bundle").returncode == 3
    assert job["retry"]["exit_codes"] == [6]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_of_others_are_pinned_by_commit(path: Path) -> None:
    uses = re.findall(r"uses:\s*(\S+)", path.read_text(encoding="utf-8"))

    assert uses
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", one) for one in uses)


def test_the_shipped_budgets_are_understood_and_need_no_device() -> None:
    from edge.bench.budgets import TIMED
    from edge.bench.config import read_config

    config = read_config(ROOT / "edge.toml")

    assert {budget.size_bytes for budget in config.budgets if budget.model == "*"} == {2_000_000, None}
    assert not any(name in budget.limits for budget in config.budgets for name in TIMED)

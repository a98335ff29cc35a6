"""`edge.toml`: devices are read, nonsense is refused with its line, and no host can be an option of ssh."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from edge.bench.budgets import SAYS, Budget, limits_of
from edge.bench.config import Defaults, DeviceConfig, check_host, read_config, read_devices
from edge.bench.config_schema import DEFAULTS_SAY, DEVICES_SAY, config_schema
from edge.bench.toml_lines import lines_of
from edge.runtime.errors import InputError

HOSTILE = [
    "-oProxyCommand=touch canary",
    "pi@-oProxyCommand=touch${IFS}canary",
    "-F/dev/null",
    "pi@host;touch canary",
    "pi@host$(touch canary)",
    "pi@host`touch canary`",
    "pi@host|touch canary",
    "pi@host&&touch canary",
    "pi@host\ntouch canary",
    "pi@host\0",
    "pi@'host'",
    'pi@"host"',
    "pi @host",
    "../../etc/passwd",
    "pi@host/../x",
    "pi@\u202ehost",
    "pi@\x1b[2Jhost",
    "pi@" + "h" * 65536,
    "pi\udce4@host",
    "ssh://pi@host -oX",
    "%h@host",
    "pi@[::1]-oX",
    "",
    "@host",
    "pi@",
]


def write(folder: Path, text: str) -> Path:
    path = folder / "edge.toml"
    path.write_text(text)
    return path


def test_a_device_needs_nothing_but_its_host(tmp_path: Path) -> None:
    path = write(tmp_path, '[devices.rpi4]\nssh = "pi@192.0.2.7"\n[devices.desk]\nssh = "desk"\nport = 2222\n')

    devices = read_devices(path)

    assert list(devices) == ["rpi4", "desk"]
    assert devices["rpi4"] == DeviceConfig(name="rpi4", ssh="pi@192.0.2.7", kind="rpi4")
    assert (devices["desk"].kind, devices["desk"].port) == ("ssh", 2222)


def test_no_file_in_the_current_folder_means_no_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert read_devices() == {}


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_devices(tmp_path / "other.toml")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            '[devices.rpi4]\nssh = "pi@h"\n\ncool = 50\n',
            r"`edge.toml` line 4: unknown key `cool`",
            "did you mean `cool_c`",
        ),
        ('[devices.rpi4]\nssh = "pi@h"\ncool_c = 500\n', r"line 3: device `rpi4`: `cool_c` is out of range.*500", None),
        ('[devices.rpi4]\nssh = "pi@h"\ntimeout_s = "5"\n', r"line 3: bad `timeout_s`.*a number", None),
        ('[devices.rpi4]\nssh = "pi@h"\nport = true\n', r"line 3: bad `port`", None),
        ('[devices.rpi4]\nkind = "rpi4"\n', r"line 1: device `rpi4` has no `ssh`", "user@host"),
        ('[devices.a]\nssh = "x"\n[devices.b]\nssh = "-oX"\n', r"line 4: bad SSH host.*-oX", "port"),
        ('[devices.a]\nssh = "x"\nkind = "pi5"\n', r"line 1: device `a`: unknown kind.*rpi4 \| ssh.*pi5", None),
        ('[devices.host]\nssh = "x"\n', r"line 1: bad name of a device", None),
        ('[devices.a]\nssh = "x"\npython = "-c"\n', r"line 3: device `a`: `python` is no command", None),
        (
            '[devices.rpi4]\nssh = "x"\nkind = "ssh"\n',
            r"the device `rpi4` is a Raspberry Pi 4, got `kind` ssh",
            "name it otherwise",
        ),
        ("devices = 3\n", r"line 1: `devices` is no table", "devices.rpi4"),
        ("[devices]\nrpi4 = 3\n", r"line 2: `devices.rpi4` is no table", None),
        ("[devices.rpi4\n", r"not TOML.*line 1", None),
        ("[defaults]\n[device.rpi4]\nssh = 'x'\n", r"line 2: unknown table `device`", "did you mean `devices`"),
        ("[[budgets]]\n", r"line 1: unknown table `budgets`", "did you mean `budget`"),
        ("[budget]\nsize_bytes = 3\n", r"line 1: `budget` is no list of tables", "two brackets"),
        ("[defaults]\nthread = 2\n", r"line 2: unknown key `thread`", "did you mean `threads`"),
        ("[defaults]\nthreads = 0\n", r"line 2: `threads` is out of range.*1 to 256.*got 0", None),
        ("[defaults]\ndevice = 'moon'\n", r"line 2: there is no device `moon`", "host, browser, android, rpi4"),
        ("[[budget]]\nsize_byte = 3\n", r"line 2: unknown key `size_byte`", "did you mean `size_bytes`"),
        ("[[budget]]\nmodel = 'x'\n", r"line 1: a budget without a limit.*size_bytes", None),
        ("[[budget]]\nsize_bytes = 1.5\n", r"line 2: bad `size_bytes`.*a whole number.*got 1.5", None),
        ("[[budget]]\nsize_bytes = true\n", r"line 2: bad `size_bytes`", None),
        ("[[budget]]\nsame_output = 1\n", r"line 2: bad `same_output`.*true or false", None),
        ("[[budget]]\np90_ms = nan\n", r"line 2: `p90_ms` is out of range", None),
        ("[[budget]]\nparity = 'good'\n", r"line 2: bad `parity`.*decibels.*got 'good'", None),
        ("[[budget]]\nsize_bytes = 1\ndevice = 'host'\n", r"line 3: `device` without a limit on latency", None),
        ("[[budget]]\np90_ms = 5\ndevice = 'rpi'\n", r"line 3: there is no device `rpi`", "did you mean `rpi4`"),
        ("[[budget]]\np90_ms = 5\nevidence = 'good'\n", r"line 3: bad `evidence`.*measured \| simulated", None),
        ("[[budget]]\np90_ms = 5\nevidence = 'predicted'\n", r"line 3: bad `evidence`", "medians"),
        ("[[budget]]\nslower_percent = 1\n", r"line 2: `slower_percent` is out of range.*3 to", "--self-test"),
        ("[[budget]]\nslower_percent = 5\ndevice = 'rpi4'\n", r"line 2: `slower_percent` is told on", "milliseconds"),
        ("[[budget]]\nmacs = 1\n\n[[budget]]\n\nmodel = ''\nmacs = 1", r"line 6: `model` is no pattern", None),
        ("x = " + "[" * 5000, r"not TOML", None),
    ],
)
def test_nonsense_is_refused_with_its_place(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_devices(write(tmp_path, text))

    assert hint is None or hint in str(caught.value.hint)


def test_a_file_that_is_no_text_or_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        read_devices(path)
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(InputError, match="too long"):
        read_devices(path)


GOOD = """
[defaults]
device = "rpi4"
threads = 4
baseline = "edge-baseline"

[devices.rpi4]
ssh = "pi@192.0.2.7"

[[budget]]  # all files
size_bytes = 2_000_000

[[budget]]
model = "pose-*"
variant = "int8.tflite"
size_bytes = 400_000
parity = "card"
metric_drop = 1
p90_ms = 50
same_output = true

[[budget]]
model = "pose-*"
slower_percent = 5
device = "host"
threads = 1
"""


def test_budgets_take_the_defaults_where_they_have_a_limit_on_latency(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, GOOD))

    assert [budget.line for budget in config.budgets] == [10, 13, 22]
    assert [(budget.device, budget.threads) for budget in config.budgets[1:]] == [("rpi4", 4), ("host", 1)]
    assert config.budgets[1].limits == {
        "size_bytes": 400_000, "parity": "card", "same_output": True, "metric_drop": 1, "p90_ms": 50
    }  # fmt: skip
    assert config.beside(config.defaults.baseline) == tmp_path / "edge-baseline"


def test_of_several_limits_of_a_kind_the_last_one_that_matches_holds(tmp_path: Path) -> None:
    budgets = read_config(write(tmp_path, GOOD)).budgets

    def held(model: str, variant: str) -> list[tuple[str, object, int]]:
        return [(limit.name, limit.value, limit.budget.line) for limit in limits_of(budgets, model, variant)]

    assert held("face", "int8.tflite") == [("size_bytes", 2_000_000, 10)]
    assert held("pose-a", "fp32.onnx") == [("size_bytes", 2_000_000, 10), ("slower_percent", 5, 22)]
    assert held("pose-a", "int8.tflite")[0] == ("size_bytes", 400_000, 13)


def test_limits_of_two_devices_hold_beside_each_other() -> None:
    budgets = [
        Budget(p90_ms=50, device="rpi4"),
        Budget(p90_ms=5, device="host"),
        Budget(p90_ms=4, device="host", variant="int8"),
    ]

    assert [limit.value for limit in limits_of(budgets, "m", "int8.onnx")] == [50, 4]


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [("int8", True), ("tflite", True), ("int8.*", True), ("*.tflite", True), ("int8.onnx", False), ("INT8", False)],
)
def test_a_variant_is_a_precision_a_format_or_both(pattern: str, matched: bool) -> None:
    assert Budget(variant=pattern, macs=1).matches("any", "int8.tflite") is matched


def test_the_schema_takes_what_is_read_and_refuses_what_is_not(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(tomllib.loads(GOOD), schema)
    jsonschema.validate({}, schema)

    for text in (
        "[device.rpi4]\nssh = 'x'",
        "[devices.rpi4]\nport = 3",
        "[devices.rpi4]\nssh = '-oX'",
        "[devices.host]\nssh = 'x'",
        "[defaults]\nthread = 2",
        "[defaults]\nthreads = 0",
        "[budget]\nsize_bytes = 3",
        "[[budget]]\nmodel = 'x'",
        "[[budget]]\nsize_byte = 3",
        "[[budget]]\nsize_bytes = 1.5",
        "[[budget]]\nsize_bytes = true",
        "[[budget]]\nparity = 'good'",
        "[[budget]]\nsize_bytes = 1\ndevice = 'host'",
        "[[budget]]\np90_ms = 5\nevidence = 'good'",
        "[[budget]]\nslower_percent = 1",
    ):
        with pytest.raises(InputError):
            read_config(write(tmp_path, text))
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(tomllib.loads(text), schema)


def test_lines_are_those_of_keys_whatever_the_values_look_like() -> None:
    text = """top = [
  "[not]", # a comment with ]
  "x = 1",
]
[a."b.c"]
text = \"\"\"
[[also.not]]
y = 2
\"\"\"
'quoted key' = {in = 1}
d.e = 3
[[f]]
[[f.g]]
[[f]]
[[f.g]]
[[f.g]]
z = 1
"""
    tomllib.loads(text)

    assert lines_of(text) == {
        ("top",): 1,
        ("a",): 5,
        ("a", "b.c"): 5,
        ("a", "b.c", "text"): 6,
        ("a", "b.c", "quoted key"): 10,
        ("a", "b.c", "d"): 11,
        ("a", "b.c", "d", "e"): 11,
        ("f",): 12,
        ("f", 0): 12,
        ("f", 0, "g"): 13,
        ("f", 0, "g", 0): 13,
        ("f", 1): 14,
        ("f", 1, "g"): 15,
        ("f", 1, "g", 0): 15,
        ("f", 1, "g", 1): 16,
        ("f", 1, "g", 1, "z"): 17,
    }


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_host_that_ssh_or_a_shell_could_misread_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="bad SSH host"):
        check_host(text)


@pytest.mark.parametrize("text", ["rpi4", "pi@192.0.2.7", "pi@[2001:db8::7]", "2001:db8::7", "my_pi", "a.b-c@pi.local"])
def test_hosts_that_people_have_are_taken(text: str) -> None:
    check_host(text)


def test_the_page_on_gates_has_every_key_and_an_example_that_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "gates.md").read_text(encoding="utf-8")

    assert [name for name in (*SAYS, *DEFAULTS_SAY) if f"`{name}`" not in page] == []
    config = read_config(write(tmp_path, page.split("```toml\n")[1].split("```")[0]))
    assert len(config.budgets) == 4
    assert list(config.devices) == ["rpi4"]


def test_what_is_described_is_what_there_is() -> None:
    from dataclasses import fields

    assert {field.name for field in fields(Budget)} == {*SAYS, "line"}
    assert {field.name for field in fields(Defaults)} == set(DEFAULTS_SAY)
    assert {field.name for field in fields(DeviceConfig)} == {*DEVICES_SAY, "name"}

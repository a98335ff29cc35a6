"""The JSON Schema of `edge.toml`, for editors that complete and check it: `edge config schema` prints it.

It is made of the dataclasses that the file is read into. A few rules are the reader's alone, such as that a budget's
device must have a table.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from .adb import SERIAL
from .budgets import CARD_LIMITS, COUNTS, LATENCIES, LEAST_SLOWER, LIMITS, OF_LATENCY, SAYS, TIMED, Budget
from .config import HOST, KINDS, NAME, TAKEN, USER, Defaults, DeviceConfig
from .device import Evidence

__all__ = ["DEFAULTS_SAY", "DEVICES_SAY", "config_schema"]

DEFAULTS_SAY = {
    "device": "Device of budgets with a limit on latency that name none.",
    "threads": "Threads of the same.",
    "baseline": "Folder of the baseline, from this file's folder.",
    "samples": "Samples that `edge gate` judges a metric on; 0: as many as `edge eval`.",
    "data": 'What these samples are: "synthetic", or a folder, from this file\'s folder.',
}
DEVICES_SAY = {
    "ssh": "Where: host, user@host, or an alias of ~/.ssh/config.",
    "adb": "Serial of a phone, as `adb devices` has it.",
    "kind": "rpi4 insists on a real Raspberry Pi 4; ssh is any other Linux machine; android goes with adb.",
    "port": "Of sshd; 0 leaves it to OpenSSH's configuration.",
    "ssh_config": "File to read instead of ~/.ssh/config.",
    "python": "The command there.",
    "cool_c": "Highest temperature at which a launch may begin, degrees Celsius; of a phone, its battery's.",
    "timeout_s": "Longest launch, seconds; 0 goes by what is measured.",
}
# Beyond the types: key -> what else holds.
DEVICE_RULES: dict[str, dict[str, Any]] = {
    "ssh": {"pattern": f"^(({USER.pattern})@)?({HOST.pattern})$"},
    "adb": {"pattern": f"^{SERIAL.pattern}$"},
    "kind": {"enum": list(KINDS)},
    "port": {"minimum": 0, "maximum": 65535},
    "cool_c": {"minimum": 20, "maximum": 100},
    "timeout_s": {"minimum": 0, "maximum": 86_400},
    "python": {"pattern": "^[^-\\s]"},
}
DEFAULT_RULES: dict[str, dict[str, Any]] = {"threads": {"minimum": 1, "maximum": 256}, "samples": {"minimum": 0}}
BUDGET_RULES: dict[str, dict[str, Any]] = {
    **{key: {"minLength": 1, "maxLength": 200} for key in ("model", "variant")},
    **{key: {"minimum": 0} for key in (*COUNTS, *LATENCIES)},
    "metric_drop": {"minimum": 0, "maximum": 100},
    "slower_percent": {"minimum": LEAST_SLOWER, "maximum": 1000},
    "threads": {"minimum": 1, "maximum": 256},
    "evidence": {"enum": [str(grade) for grade in Evidence]},
}


def config_schema() -> dict[str, Any]:
    """Return the schema, draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edge.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "defaults": _object(Defaults, DEFAULTS_SAY, DEFAULT_RULES),
            "devices": {
                "description": "Machines behind SSH and phones behind adb, by name.",
                "type": "object",
                "propertyNames": {"pattern": f"^{NAME.pattern}$", "not": {"enum": list(TAKEN)}},
                "additionalProperties": {
                    **_object(DeviceConfig, DEVICES_SAY, DEVICE_RULES),
                    "oneOf": [{"required": ["ssh"]}, {"required": ["adb"]}],
                },
            },
            "budget": {
                "description": "Limits; of several that match a file, the last one that sets a limit holds.",
                "type": "array",
                "items": _budget(),
            },
        },
    }


def _budget() -> dict[str, Any]:
    schema = _object(Budget, SAYS, BUDGET_RULES)
    decibels = {"type": "number", "minimum": -200, "maximum": 200}
    schema["properties"]["parity"] = {"anyOf": [decibels, {"const": CARD_LIMITS}], "description": SAYS["parity"]}
    timed = {"anyOf": [{"required": [name]} for name in TIMED]}
    return {
        **schema,
        "anyOf": [{"required": [name]} for name in LIMITS],
        "dependentSchemas": dict.fromkeys(OF_LATENCY, timed),
    }


def _object(kind: type[Any], says: dict[str, str], rules: dict[str, dict[str, Any]]) -> dict[str, Any]:
    types = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
    hints = {item.name: str(item.type).split(" | ")[0] for item in dataclasses.fields(kind)}
    properties = {
        name: {"type": types[hints[name]], "description": words, **rules.get(name, {})} for name, words in says.items()
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}

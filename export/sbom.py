"""A bill of materials of a bundle: CycloneDX 1.6 JSON of the files, the checkpoint, and every tool that took part.

Made of the manifest and of hashes that were checked, nothing else: the same bundle gives the same bytes, so there is no
time in it. Plain JSON, for a Pi has no use for a library; a test holds it against the schema.

Source: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

__all__ = ["sbom"]

NAMESPACE = uuid.UUID("6f1d6a0e-2f3c-5c0b-9d8e-65646765edce")  # of serial numbers; any constant would do
MAX_TEXT = 2000


def sbom(manifest: Mapping[str, Any], hashes: Mapping[str, str]) -> dict[str, Any]:
    """Return the bill of materials.

    Args:
        manifest: of a bundle that `verify_bundle` found nothing wrong with.
        hashes: SHA-256 by file name, as `verify_bundle` read them, the manifest's among them.
    """
    model, card = str(manifest["model"]), manifest["card"]
    artifacts = [_artifact(model, name, facts, hashes[name]) for name, facts in sorted(manifest["variants"].items())]
    materials, made_of = [], []
    if manifest.get("checkpoint_sha256"):
        made_of.append("checkpoint")
        materials.append(
            _component("data", "checkpoint", f"weights of {model}", manifest["checkpoint_sha256"])
            | {"description": f"weights: {manifest.get('weights', 'unknown')}"}
        )
    samples = manifest.get("samples") or {}
    if samples.get("sha256"):
        made_of.append("samples")
        materials.append(
            _component("data", "samples", "calibration and judgement samples", samples["sha256"])
            | {"description": str(samples.get("source", ""))[:MAX_TEXT]}
        )
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, hashes['manifest.json'])}",
        "version": 1,
        "metadata": {
            "tools": {"components": [_tool("edge-vision", str(manifest["edge"])), *_tools(manifest)]},
            "component": {
                "type": "machine-learning-model",
                "bom-ref": "model",
                "name": model,
                "version": str(manifest.get("key", ""))[:16],
                "properties": _properties(
                    {
                        "edge:family": manifest.get("family"),
                        "edge:parameters": manifest.get("parameters"),
                        "edge:manifest-sha256": hashes["manifest.json"],
                        **{f"edge:{word}": text for word, text in sorted(card.get("provenance", {}).items())},
                    }
                ),
            },
        },
        "components": [*artifacts, *materials],
        "dependencies": [
            {"ref": "model", "dependsOn": [one["bom-ref"] for one in artifacts]},
            *({"ref": one["bom-ref"], "dependsOn": made_of} for one in artifacts),
            *({"ref": name} for name in made_of),
        ],
    }


def _artifact(model: str, name: str, facts: Mapping[str, Any], sha256: str) -> dict[str, Any]:
    words = ("target", "precision", "recipe", "bytes")
    return _component("machine-learning-model", f"file:{name}", name, sha256) | {
        "group": model,
        "properties": _properties({f"edge:{word}": facts.get(word) for word in words}),
    }


def _component(kind: str, ref: str, name: str, sha256: str) -> dict[str, Any]:
    return {"type": kind, "bom-ref": ref, "name": name, "hashes": [{"alg": "SHA-256", "content": sha256}]}


def _tools(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    tools = {str(name): str(version) for name, version in manifest.get("tools", {}).items()}
    python = tools.pop("python", None)
    found = [_tool(name, version) for name, version in sorted(tools.items())]
    return [*found, {"type": "platform", "name": "python", "version": python}] if python else found


def _tool(name: str, version: str) -> dict[str, Any]:
    return {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"}


def _properties(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"name": name, "value": str(value)[:MAX_TEXT]} for name, value in values.items() if value is not None]

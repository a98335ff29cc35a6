"""Run models in a TFLite of a certain version or with its plain kernels: a program that needs nothing of ours.

Argument: a folder with `jobs.json` and `N-inputs.npz`. `jobs.json` names the library, "tensorflow" or "ai_edge_litert",
the version it must have or null, whether to do without XNNPACK, and of each job the model and its outputs in the card's
order.
Writes `N-outputs.npz` there, or `N.txt` with TFLite's own words where it refuses a model.
"""

import json
import os
import sys
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np


def main() -> int:
    """Return the exit status: 1 where this is another version."""
    folder = sys.argv[1]
    with open(os.path.join(folder, "jobs.json"), encoding="utf-8") as file:
        asked = json.load(file)
    if asked["library"] == "tensorflow":
        import tensorflow as tf

        if asked["version"] not in (None, tf.__version__):
            print(f"this is TensorFlow {tf.__version__}")
            return 1
        interpreter, kernels = tf.lite.Interpreter, tf.lite.experimental.OpResolverType
    else:
        from ai_edge_litert import interpreter as litert

        interpreter, kernels = litert.Interpreter, litert.OpResolverType
    chosen = kernels.BUILTIN_WITHOUT_DEFAULT_DELEGATES if asked["plain"] else kernels.AUTO
    for number, job in enumerate(asked["jobs"]):
        place = os.path.join(folder, str(number))
        try:
            opened = interpreter(model_path=job["model"], num_threads=1, experimental_op_resolver_type=chosen)
            outputs = _outputs(opened, job["outputs"], np.load(place + "-inputs.npz"))
        except (ValueError, RuntimeError) as exc:
            with open(place + ".txt", "w", encoding="utf-8") as file:
                file.write(str(exc))
        else:
            np.savez(place + "-outputs.npz", **outputs)
    return 0


def _outputs(interpreter: Any, names: list[str], inputs: Any) -> dict[str, Any]:
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    places = [item["index"] for item in _ordered(interpreter, names)]
    outputs = {}
    for number, key in enumerate(inputs.files):
        interpreter.set_tensor(source, inputs[key])
        interpreter.invoke()
        outputs.update({f"{number}-{i}": interpreter.get_tensor(index) for i, index in enumerate(places)})
    return outputs


def _ordered(interpreter: Any, names: list[str]) -> list[dict[str, Any]]:
    """The outputs in the order of the names, as the app finds them: by signature, by tensor, else in graph order."""
    graph = interpreter.get_output_details()
    tables = [{item["name"]: item for item in graph}]
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        tables.insert(0, interpreter.get_signature_runner(next(iter(signatures))).get_output_details())
    for table in tables:
        if all(name in table for name in names):
            return [table[name] for name in names]
    return list(graph)


if __name__ == "__main__":
    raise SystemExit(main())

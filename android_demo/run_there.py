"""Run models in the TFLite version that the app ships: a program for an environment that has nothing of ours.

Argument: a folder with `jobs.json` (the version, and of each job the model and its outputs in the card's order) and
`N-inputs.npz`. Writes `N-outputs.npz` there, or `N.txt` with TFLite's own words where it refuses a model.
"""

import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf


def main() -> int:
    """Return the exit status: 1 where this is another version."""
    folder = sys.argv[1]
    with open(os.path.join(folder, "jobs.json"), encoding="utf-8") as file:
        asked = json.load(file)
    if tf.__version__ != asked["version"]:
        print(f"this is TensorFlow {tf.__version__}")
        return 1
    for number, job in enumerate(asked["jobs"]):
        place = os.path.join(folder, str(number))
        try:
            outputs = _outputs(job, np.load(place + "-inputs.npz"))
        except (ValueError, RuntimeError) as exc:
            with open(place + ".txt", "w", encoding="utf-8") as file:
                file.write(str(exc))
        else:
            np.savez(place + "-outputs.npz", **outputs)
    return 0


def _outputs(job, inputs):  # type: ignore[no-untyped-def]  # TensorFlow ships no types
    interpreter = tf.lite.Interpreter(model_path=job["model"], num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    places = [item["index"] for item in _ordered(interpreter, job["outputs"])]
    outputs = {}
    for number, key in enumerate(inputs.files):
        interpreter.set_tensor(source, inputs[key])
        interpreter.invoke()
        outputs.update({f"{number}-{i}": interpreter.get_tensor(index) for i, index in enumerate(places)})
    return outputs


def _ordered(interpreter, names):  # type: ignore[no-untyped-def]
    """The outputs in the order of the names, as the app finds them: by the one signature, else in graph order."""
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        details = interpreter.get_signature_runner(next(iter(signatures))).get_output_details()
        if all(name in details for name in names):
            return [details[name] for name in names]
    return interpreter.get_output_details()


if __name__ == "__main__":
    raise SystemExit(main())

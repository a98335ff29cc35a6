"""What runs in the emulated machine: one artifact on its engine, by NumPy and the engine alone.

    python3.11 -sSP emulate_guest.py ORDER.json

Not for import: `emulator.py` starts it under QEMU, in the userland of `arm64_userland.py`. ORDER says what to run; the
answer are .npy files beside it. Input and output tensors are the file's own, float32.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

# Calls that the plug-in in tcg/ takes for marks: of a file descriptor that nobody has.
WARM, START, STOP = 0x45444701, 0x45444702, 0x45444703


def main() -> None:
    """Run the artifact on every input; with `count`, two warm-ups and one counted inference on the first."""
    folder = Path(sys.argv[1]).parent
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.path.insert(0, order["site"])
    import numpy as np

    model: Any = Onnx(order) if order["engine"] == "onnxruntime" else LiteRt(order)
    for index in range(order["inputs"]):
        model.take(np.load(folder / f"input-{index}.npy", allow_pickle=False))
        model.infer()
        if order["count"] and index == 0:
            os.isatty(WARM)
            model.infer()
            os.isatty(START)
            model.infer()
            os.isatty(STOP)
        for place, array in enumerate(model.give()):
            np.save(folder / f"output-{index}-{place}.npy", array, allow_pickle=False)
    (folder / "done").touch()


class Onnx:
    """onnxruntime, one thread."""

    def __init__(self, order: dict[str, Any]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(
            Path(order["artifact"]).read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        self._names = order["outputs"]
        self._input = self._session.get_inputs()[0].name

    def take(self, tensor: Any) -> None:
        """Hand over the input."""
        self._feed = {self._input: tensor}

    def infer(self) -> None:
        """Run once."""
        self._arrays = self._session.run(self._names, self._feed)

    def give(self) -> list[Any]:
        """Return the outputs in the order asked for."""
        return list(self._arrays)


class LiteRt:
    """LiteRT with its XNNPACK delegate, one thread."""

    def __init__(self, order: dict[str, Any]) -> None:
        from ai_edge_litert.interpreter import Interpreter

        content = Path(order["artifact"]).read_bytes()
        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = self._places(order["outputs"])

    def take(self, tensor: Any) -> None:
        """Hand over the input."""
        self._interpreter.set_tensor(self._input, tensor)

    def infer(self) -> None:
        """Run once."""
        self._interpreter.invoke()

    def give(self) -> list[Any]:
        """Return the outputs in the order asked for."""
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def _places(self, names: list[str]) -> list[int]:
        """Return the tensors of outputs: by signature, by tensor name, or else in graph order."""
        details = self._interpreter.get_output_details()
        tables = [{item["name"]: item["index"] for item in details}]
        signatures = self._interpreter.get_signature_list()
        if len(signatures) == 1:
            runner = self._interpreter.get_signature_runner(next(iter(signatures)))
            tables.insert(0, {name: item["index"] for name, item in runner.get_output_details().items()})
        for table in tables:
            if all(name in table for name in names):
                return [table[name] for name in names]
        return [item["index"] for item in details]


if __name__ == "__main__":
    main()
    os._exit(0)  # native destructors have nothing to say any more

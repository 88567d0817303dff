"""Opens networks in the runtimes that run them, on one core each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from headavatar.errors import EnvironmentFault
from headavatar.scene import Array


def onnx_session(model: Path) -> Any:
    """An onnxruntime session that uses one thread and prints nothing."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EnvironmentFault(
            "onnxruntime cannot be loaded", why=str(error), fix="pip install onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


class LiteModel:
    """A .tflite network with one input and one output.

    Args:
        model: the file.
    """

    def __init__(self, model: Path) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise EnvironmentFault(
                "ai-edge-litert cannot be loaded", why=str(error), fix="pip install ai-edge-litert"
            ) from error
        self.interpreter = Interpreter(str(model), num_threads=1)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]["index"]
        self.output = self.interpreter.get_output_details()[0]["index"]

    def __call__(self, image: Array) -> Array:
        """Run on (H, W, 3) float32; returns (h, w, C) float32."""
        self.interpreter.set_tensor(self.input, np.ascontiguousarray(image[None], np.float32))
        self.interpreter.invoke()
        return np.array(self.interpreter.get_tensor(self.output)[0])

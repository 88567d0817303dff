"""Opens networks in the runtimes that run them, on one core each."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.errors import EnvironmentFault
from headavatar.scene import Array

_quiet = threading.Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what native libraries write on stderr while they start from the user; no setting of theirs does."""
    with _quiet:
        try:
            kept = os.dup(2)
        except OSError:  # there is no stderr
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


def onnx_session(model: Path) -> Any:
    """An onnxruntime session that uses one thread and prints nothing."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EnvironmentFault("onnxruntime cannot be loaded", why=str(error), fix="pip install onnxruntime") from error
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
        with quiet():
            self.interpreter = Interpreter(str(model), num_threads=1)
            self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]["index"]
        self.output = self.interpreter.get_output_details()[0]["index"]

    def __call__(self, image: Array) -> Array:
        """Run on (H, W, 3) float32; returns (h, w, C) float32."""
        self.interpreter.set_tensor(self.input, np.ascontiguousarray(image[None], np.float32))
        self.interpreter.invoke()
        return np.array(self.interpreter.get_tensor(self.output)[0])

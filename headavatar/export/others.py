"""The folders of other programs: VHAP's, INSTA's and IMavatar's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from headavatar.dialects import layouts
from headavatar.dialects.recording import Recording
from headavatar.head import added, flame
from headavatar.head.model import HeadModel
from headavatar.scene import Array, Clip, HeadParams, Split

README = """{name}: the layout of that program's data sets, so that what reads them reads this.

Pictures, masks, camera and head pose are as the layout has them. Expression and shape are coefficients of the head
model "{head_model}"{meaning}.
Read back: headavatar import {name} --from {name}
"""

NOT_FLAME = """, not of FLAME: programs that build FLAME's mesh from them need a clip that was tracked with FLAME
(headavatar models add flame generic_model.pkl)"""


class PosedHeads(Sequence[Array]):
    """(V, 3) vertices of each frame in our world, made when asked for."""

    def __init__(self, head: HeadModel, params: HeadParams) -> None:
        self.head, self.params = head, params

    def __len__(self) -> int:
        return len(self.params)

    @overload
    def __getitem__(self, index: int) -> Array: ...
    @overload
    def __getitem__(self, index: slice) -> PosedHeads: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return PosedHeads(self.head, self.params[index])
        one = self.params[range(len(self))[index]]
        parts = (
            torch.as_tensor(part)
            for part in (one.expression, one.rotation, one.translation, one.neck, one.jaw, one.eyes)
        )
        with torch.no_grad():
            return self.head.posed(torch.as_tensor(one.identity), *parts)[0].double().numpy()


def _native(head: HeadModel, params: HeadParams) -> dict[str, Any]:
    """The clip in FLAME's own terms where it was tracked with FLAME."""
    if head.name == "embedded" or str(added.native_arrays(head.name)["kind"]) != "flame":
        return {}
    model = flame.load(head.name)
    own = flame.convert_back(model, head, params)
    native = {
        "shape": own.shape, "expr": own.expression, "rotation": own.global_pose, "translation": own.translation,
        "neck_pose": own.neck, "jaw_pose": own.jaw, "eyes_pose": own.eyes,
    }  # fmt: skip
    return {"native": native, "shift": model.shift}


def write(
    name: str, folder: Path, clip: Clip, head: HeadModel, frames: range, progress: Callable[[], None]
) -> dict[str, Any]:
    """Write a folder.

    Args:
        name: of the layout.
        folder: empty and existing.
        clip: tracked.
        head: the head model that it was tracked with.
        frames: positions to write.
        progress: called once per frame.
    Returns:
        files relative to the folder, and the number of frames.
    """
    chosen = list(frames)
    params = clip.params[chosen]
    rest = torch.zeros(1, len(head.expression_names))
    with torch.no_grad():
        still = head.vertices(torch.as_tensor(params.identity), rest)[0].double().numpy()
    held = np.zeros(len(chosen), bool)
    held[Split.tail(clip.times_s[chosen]).holdout] = True  # these layouts hold out the clip's end
    recording = Recording(
        images=clip.images[frames.start : frames.stop], mattes=clip.mattes[frames.start : frames.stop],
        camera=clip.camera, params=params, vertices=PosedHeads(head, params), faces=head.faces.numpy(), rest=still,
        landmarks=clip.landmarks[chosen], head_model=head.name, held_out=held, **_native(head, params),
    )  # fmt: skip
    files = layouts.write(name, folder, recording, progress)
    meaning = "" if recording.native else NOT_FLAME
    (folder / "README.txt").write_text(README.format(name=name, head_model=head.name, meaning=meaning))
    return {"files": [*files, "README.txt"], "frames": len(chosen)}

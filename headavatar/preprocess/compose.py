"""Third pass: raw mattes become the final ones, steady over time, tight at the edge, with the head cut out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from headavatar.preprocess.background import Plate
from headavatar.preprocess.clothes import without_clothes
from headavatar.preprocess.edges import refine
from headavatar.preprocess.masks import head_matte
from headavatar.preprocess.normal_network import NormalNetwork
from headavatar.preprocess.normals import face_normals, face_triangles
from headavatar.preprocess.steady import REACH, steadied
from headavatar.progress import Reporter
from headavatar.scene import Array
from headavatar.workspace import atomic, layout
from headavatar.workspace.clips import read_image

MADE = ("frames", "mattes", "head_mattes", "normals")


def compose(
    partial: Path,
    points: Array,
    detected: Array,
    valid: Array,
    plate: Plate | None,
    normal_network: NormalNetwork | None,
    workers: int,
    reporter: Reporter,
) -> None:
    """Write `frames`, `mattes`, `head_mattes` and `normals` beside the raw ones.

    Args:
        partial: folder with crops, raw_mattes and raw_heads.
        points: (N, 478, 3) landmarks in pixels of the crop.
        detected: (N,) bool.
        valid: (size, size) bool; mattes are 0 elsewhere.
        plate: the clean plate, where there is one.
        normal_network: what sees the face's normals; None takes those that the landmarks span.
        workers: threads.
        reporter: progress.
    """
    count, size = len(points), valid.shape[0]
    face_triangles()  # mediapipe is imported once, before the threads

    def one(index: int) -> int:
        name = layout.frame_name(index)
        targets = [partial / folder / name for folder in MADE]
        if all(target.exists() for target in targets):
            return 1
        near = range(max(0, index - REACH), min(count, index + REACH + 1))
        crops = [read_image(partial / "crops" / layout.frame_name(j)) for j in near]
        masks = [
            [read_image(partial / folder / layout.frame_name(j), gray=True) for j in near]
            for folder in ("raw_mattes", "raw_heads")
        ]
        center = near.index(index)
        matte, share = steadied(crops, masks, center)
        matte, frame = refine(crops[center], matte, plate)
        head = head_matte(matte, share, points[index] if detected[index] else None)
        head = without_clothes(frame, matte, head)
        normals = np.zeros((size, size, 3), np.uint8)
        if detected[index] and normal_network is not None:
            normals = normal_network.run(crops[center], points[index], matte * valid)
        elif detected[index]:
            normals = face_normals(points[index], size)
        pictures = (frame, _bytes(matte * valid), _bytes(head * valid), normals)
        for target, picture in zip(targets, pictures, strict=True):
            atomic.write_image(target, picture, sync=False)
        return 1

    with reporter.task("steady mattes", count) as task, ThreadPoolExecutor(workers) as pool:
        for done in pool.map(one, range(count)):
            task.advance(done)


def _bytes(values: Array) -> Array:
    return np.round(values * 255).astype(np.uint8)

"""Measures what the landmark network does alike with everybody, on talking heads of which all is known.

    python tests/landmark_habits.py --films 16 --seed 100 --out headavatar/track/landmark_habits.npz

Every landmark's distance from its true place, in head space, is explained by a constant, by the direction that the head
is seen from, and by the expression, the same for all films; a ridge keeps what pictures cannot tell apart small.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from talking_heads import Truth, film, head
from truth_figures import preprocessed

from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.preprocess.settings import PreprocessSettings
from headavatar.scene import Array
from headavatar.track.habits import FILE, Habits
from headavatar.track.landmark_model import INNER_LIP_PAIRS, IRISES, LID_PAIRS, OVAL
from headavatar.workspace import Workspace, layout

FRAMES = 100
RIDGE = 0.01
"""Share of a frame's information that a shift in head space must have to be believed by half."""
LIDS = [landmark for pair in LID_PAIRS for landmark in pair]
CONSTANT, VIEW = 1, 3
"""How many of the features tell nothing but the place, and nothing but place and view."""


@dataclass(frozen=True)
class Seen:
    """The landmarks of a film.

    Attributes:
        error: (T, L, 2) network's less true, in metres at the head's distance, x right and y down.
        by_head: (T, 2, 3) what a shift in head space does to that.
        features: (T, F) what a shift may be proportional to: 1, x and y of the unit vector to the camera in head
            space, and the true expression.
    """

    error: Array
    by_head: Array
    features: Array

    @staticmethod
    def of(workspace: Workspace, truth: Truth) -> Seen:
        """From a preprocessed film."""
        video, table = workspace.read_json(layout.VIDEO), workspace.read_jsonl(layout.FRAME_TABLE)
        x, y, side = video["crop"]
        rows = np.array([i for i, row in enumerate(table) if row["usable"]])
        frames = np.array([table[i]["source_frame"] for i in rows])
        found = workspace.read_npz(layout.LANDMARKS)["landmarks"][rows, :, :2] * (side / video["size"]) + (x, y)
        params = truth.params
        turn = axis_angle_to_matrix_np(params.rotation[frames]).astype(np.float64)
        metre_px = truth.camera.K[0, 0] / -params.translation[frames, 2].astype(np.float64)
        view = -np.einsum("tji,tj->ti", turn, params.translation[frames])
        view /= np.linalg.norm(view, axis=1, keepdims=True)
        return Seen(
            (found - truth.landmarks[frames]) / metre_px[:, None, None],
            np.stack([turn[:, 0], -turn[:, 1]], 1),
            np.concatenate([np.ones((len(view), 1)), view[:, :2], params.expression[frames]], 1),
        )


def shifts(films: list[Seen], features: int | None = None) -> Array:
    """(F, L, 3) head space, metres: what explains the films' errors best, by the first features or by all."""
    rows, values = [], []
    for seen in films:
        moved = np.einsum("tf,tij->tifj", seen.features[:, :features], seen.by_head)
        rows.append(moved.reshape(2 * len(moved), -1))
        values.append(seen.error.transpose(0, 2, 1).reshape(2 * len(moved), -1))
    design, target = np.concatenate(rows), np.concatenate(values)
    normal = design.T @ design + RIDGE * (len(design) // 2) * np.eye(design.shape[1])
    return np.asarray(np.linalg.solve(normal, design.T @ target).reshape(-1, 3, target.shape[1]).transpose(0, 2, 1))


def left(seen: Seen, shift: Array) -> Seen:
    """The same film with what the shifts (F, L, 3) do not explain."""
    moved = np.einsum("tf,flc->tlc", seen.features[:, : len(shift)], shift)
    return replace(seen, error=seen.error - np.einsum("tij,tlj->tli", seen.by_head, moved))


def measured(films: list[Seen]) -> Habits:
    """Habits of the network in these films."""
    whole, names = shifts(films), head().expression_names
    moving = [i for i, name in enumerate(names) if not name.startswith("eye")]
    by_expression = whole[VIEW:][moving]
    by_expression[:, [*IRISES, *LIDS]] = 0
    remains, constants = [], []
    for i, seen in enumerate(films):  # of a person who was not learnt from
        others = films[:i] + films[i + 1 :]
        rest = left(seen, shifts(others, VIEW))
        remains.append((left(rest, shifts([rest], CONSTANT)).error ** 2).sum(2).mean(0))
        constants.append((shifts([left(seen, shifts(others))], CONSTANT)[0] ** 2).mean(1))
    parts = (whole[0], whole[1:VIEW], by_expression, np.sqrt(np.mean(remains, 0)), np.sqrt(np.mean(constants, 0)))
    place, by_view, by_expression, spread, own = (torch.from_numpy(values).float() for values in parts)
    return Habits(place, by_view, by_expression, tuple(names[i] for i in moving), spread, own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=16)
    parser.add_argument("--seed", type=int, default=100, help="of the first film; each further one adds 1")
    parser.add_argument("--work", type=Path, default=Path("films"), help="folder of the films, kept")
    parser.add_argument("--out", type=Path, default=FILE)
    words = parser.parse_args()
    words.work.mkdir(parents=True, exist_ok=True)
    films = []
    for seed in range(words.seed, words.seed + words.films):
        video = words.work / f"{seed}.mp4"
        truth = film(video, seed, FRAMES)
        films.append(Seen.of(preprocessed(video, PreprocessSettings(str(video), matting="selfie")), truth))
        print(f"film {seed}: off by {_rms_mm(films[-1].error):.2f} mm", flush=True)
    habits = measured(films)
    habits.save(words.out)
    for i, seen in enumerate(films):
        others = films[:i] + films[i + 1 :]
        rest = [_rms_mm(left(seen, shifts(others, features)).error) for features in (CONSTANT, VIEW, None)]
        print(f"film {words.seed + i}, learnt from the others: " + ", ".join(f"{error:.2f}" for error in rest) + " mm")
    for name, points in (("outline", OVAL), ("lids", LIDS), ("lips", np.ravel(INNER_LIP_PAIRS)), ("irises", IRISES)):
        print(f"{name}: {1e3 * float(habits.spread[list(points)].mean()):.2f} mm are left")


def _rms_mm(error: Array) -> float:
    return float(1e3 * np.sqrt((error**2).sum(2).mean()))


if __name__ == "__main__":
    main()

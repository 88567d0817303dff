"""The whole way of `import`: another program's folder of a filmed talking head, through the networks, to a track."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import others_folders
import pytest
import synthetic
import torch
from talking_heads import film, head
from test_track_truth import need_networks

from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.preprocess.decode import Selection, probe, read_frames
from headavatar.workspace import Workspace, layout, load_camera, load_params

PROGRAM = [sys.executable, "-c", "from headavatar.cli.main import main; main()"]
FRAMES = 40


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("dialect", list(others_folders.WRITERS))
def test_a_filmed_head_comes_in_where_it_was(dialect: str, tmp_path: Path) -> None:
    need_networks("face_landmarker", "modnet", "selfie_multiclass")
    seed = int(np.random.default_rng().integers(2**31))
    print(f"seed {seed}")
    truth = film(tmp_path / "clip.mp4", seed, FRAMES)
    info = probe(tmp_path / "clip.mp4")
    images = np.stack([f for _, f in read_frames(tmp_path / "clip.mp4", info, Selection(), (info.width, info.height))])
    whole = np.full(images.shape[:3], 255, np.uint8)
    given = {"images": images, "mattes": whole, "head_mattes": whole, "camera": truth.camera, "params": truth.params,
             "landmarks": truth.landmarks, "times_s": np.arange(FRAMES) / truth.fps}  # fmt: skip
    blank = {field.name: given.get(field.name, np.zeros(0)) for field in fields(synthetic.SyntheticClip)}
    clip = synthetic.SyntheticClip(**blank)
    rng = np.random.default_rng(seed)
    folder = tmp_path / "theirs"
    others_folders.WRITERS[dialect](folder, clip, others_folders.Foreign.random(rng), rng)
    for masks in ("fg_masks", "mask"):
        shutil.rmtree(folder / masks, ignore_errors=True)  # so that the network has to find the person
    done = subprocess.run(
        [*PROGRAM, "import", str(folder), "--from", dialect, "--out", "one.avatar", "--json", "--fps", str(truth.fps),
         "--strict", "--device", "cpu"], cwd=tmp_path, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)["stages"][-1]
    print(summary)
    assert summary["landmark_nme"] < 0.03 and summary["imported"] == dialect
    workspace = Workspace.open(tmp_path / "one.avatar")
    x, y, side = workspace.read_json(layout.VIDEO)["crop"]
    camera, params = load_camera(workspace), load_params(workspace)
    names = {row["frame"]: row["file"] for row in workspace.read_jsonl(layout.FRAME_TABLE)}
    files = sorted(names.values(), key=lambda name: int("".join(filter(str.isdigit, name.removesuffix("_00.png")))))
    kept = [files.index(names[int(i)]) for i in workspace.read_npz(layout.PARAMS)["frame_idx"]]
    assert len(kept) > 0.8 * FRAMES
    # The true head under the imported poses and camera falls onto itself, as far as the landmark network lets it. How
    # large a person is one camera cannot tell: a head of another size, as much nearer or farther, looks the same.
    with torch.no_grad():
        tensors = torch.from_numpy(truth.params.identity), torch.from_numpy(truth.params.expression[kept])
        points = head().landmark_model().points(*tensors).double().numpy()
    true = truth.params.translation[kept]
    size = (params.translation * true).sum() / (true * true).sum()
    world = size * points @ np.swapaxes(axis_angle_to_matrix_np(params.rotation), 1, 2) + params.translation[:, None]
    pixels = camera.project(world)[0] * side / camera.width + [x, y]
    off = np.linalg.norm(pixels - truth.landmarks[kept], axis=-1)
    eyes = np.linalg.norm(truth.landmarks[:, 33] - truth.landmarks[:, 263], axis=1).max()
    relative = axis_angle_to_matrix_np(params.rotation) @ np.swapaxes(
        axis_angle_to_matrix_np(truth.params.rotation[kept]), 1, 2
    )
    turned = np.degrees(np.arccos(np.clip((np.trace(relative, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    print(f"{dialect}: {off.mean():.2f} px of {eyes:.0f} between the eyes, {turned.mean():.2f} degrees")
    assert off.mean() < 0.05 * eyes and 0.8 < size < 1.25
    assert turned.mean() < 6 and np.ptp(turned) < 6

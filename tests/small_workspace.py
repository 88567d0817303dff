"""A tracked and fitted workspace in miniature, and an avatar that draws what it is told: for the stages that show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from headavatar.head import load
from headavatar.methods import registry
from headavatar.methods.base import MethodSpec
from headavatar.scene import ARKIT_NAMES, PARSING_CLASSES, Array, Camera, HeadParams, RenderOutput, Surface
from headavatar.workspace import Workspace
from headavatar.workspace.records import Output, Record, save_record

SIZE = 64
FOCAL = 2.2 * SIZE


class PaintedAvatar:
    """A disc where the head is; its red is jawOpen, its green the left blink, its blue the yaw."""

    method = "painted"
    head_model = "embedded"

    def __init__(self, name: str = "painted") -> None:
        self.name = name
        self.identity = np.zeros(100, np.float32)
        self.expression_range = (np.zeros(52, np.float32), np.full(52, 0.8, np.float32))

    def render(
        self, params: HeadParams, camera: Camera, background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ) -> RenderOutput:
        assert len(params) == 1
        center, depth = camera.project(np.asarray(params.translation, np.float64))
        radius = 0.09 * camera.K[0, 0] / depth[0]
        y, x = np.mgrid[: camera.height, : camera.width] + 0.5
        alpha = (np.hypot(x - center[0, 0], y - center[0, 1]) < radius).astype(np.float32)
        color = color_of(params)
        rgb = np.where(alpha[..., None] > 0, color, np.asarray(background)).astype(np.float32)
        return RenderOutput(rgb, alpha, alpha * np.float32(depth[0]))

    def surface(self, params: HeadParams, seen_from: Array, voxel_m: float) -> Surface:
        """A ball in the disc's color."""
        ball = trimesh.creation.icosphere(subdivisions=2, radius=0.09)
        assert (seen_from[:, 2] > 0.09).all() and 0 < voxel_m < 0.09
        colors = np.tile(color_of(params), (len(ball.vertices), 1)).astype(np.float32)
        return Surface(np.asarray(ball.vertices, np.float32), np.asarray(ball.faces, np.int64), colors)

    def save(self, folder: Path) -> None:
        (folder / "avatar.json").write_text(json.dumps({"method": self.method, "name": self.name}))

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> PaintedAvatar:
        return cls(json.loads((folder / "avatar.json").read_text())["name"])


SPEC = MethodSpec(
    name="painted", title="a disc", needs=(), settings=dict, trainer="", avatar="small_workspace:PaintedAvatar"
)


def install_painted_method(monkeypatch: Any) -> None:
    """Let the registry find `PaintedAvatar`."""
    monkeypatch.setattr(registry, "OURS", {**registry.OURS, "painted": "small_workspace:SPEC"})


def color_of(params: HeadParams) -> Array:
    """The disc's color for one frame."""
    e = np.clip(params.expression[0], 0, 0.8)
    red, green = e[ARKIT_NAMES.index("jawOpen")], e[ARKIT_NAMES.index("eyeBlinkLeft")]
    return np.array([red, green, np.clip(0.5 + params.rotation[0, 1], 0, 1)])


def random_params(rng: np.random.Generator, frames: int) -> HeadParams:
    """Smooth random motion of a random person, half a metre away, at rest in one stretch of the clip."""
    t = np.linspace(0, 1, frames)[:, None]

    def wave(columns: int, amplitude: float) -> Array:
        phase, speed = rng.uniform(0, 2 * np.pi, columns), rng.uniform(1, 4, columns)
        return amplitude * np.sin(2 * np.pi * speed * t + phase)

    expression = np.clip(np.abs(wave(52, 0.7)), 0, 1)
    rotation, neck, jaw, eyes = wave(3, 0.4), wave(3, 0.1), wave(3, 0.05), wave(6, 0.2)
    calm = slice(frames // 2 - 3, frames // 2 + 4)
    for values in (expression, rotation, neck, jaw, eyes):
        values[calm] *= 0.05
    return HeadParams(
        identity=rng.normal(0, 0.5, load().identity_size).astype(np.float32),
        expression=expression.astype(np.float32),
        rotation=rotation.astype(np.float32),
        translation=(np.array([0.0, 0.0, -0.55]) + wave(3, 0.02)).astype(np.float32),
        neck=neck.astype(np.float32),
        jaw=jaw.astype(np.float32),
        eyes=eyes.astype(np.float32),
    )


def write_small_workspace(root: Path, rng: np.random.Generator, frames: int = 36, rejected: int = 3) -> Workspace:
    """A workspace as preprocess, track and fit leave it: the avatar's own pictures as the video, plus rejected frames.

    Args:
        rng: whose motion it shows.
        frames: usable ones; the rejected ones come after them.
    """
    workspace = Workspace.create(root)
    params = random_params(rng, frames)
    avatar = PaintedAvatar()
    camera = Camera(np.array([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]]), SIZE, SIZE)
    plate = np.full((SIZE, SIZE, 3), (90, 140, 120), np.uint8)
    rows = []
    for i in range(frames + rejected):
        shown = avatar.render(params[min(i, frames - 1)], camera)
        inside = shown.alpha[..., None] > 0
        picture = np.where(inside, (shown.rgb * 255 + 0.5).astype(np.uint8), plate).astype(np.uint8)
        name = f"{i:06d}.png"
        workspace.write_image(f"source/frames/{name}", picture)
        for folder in ("mattes", "head_mattes"):
            workspace.write_image(f"source/{folder}/{name}", (shown.alpha * 255).astype(np.uint8))
        parsing = np.where(shown.alpha > 0, PARSING_CLASSES.index("face_skin"), 0).astype(np.uint8)
        parsing[-4:] = PARSING_CLASSES.index("clothes")
        workspace.write_image(f"source/parsing/{name}", parsing)
        reason = "" if i < frames else ("no_face", "two_faces", "blurred")[(i - frames) % 3]
        rows.append({
            "frame": i, "source_frame": i, "time_s": i / 10, "usable": not reason, "reason": reason, "faces": 1,
            "sharpness": 50.0 + i,
        })  # fmt: skip
    workspace.write_jsonl("source/frames.jsonl", rows)
    workspace.write_image("source/valid.png", np.full((SIZE, SIZE), 255, np.uint8))
    workspace.write_image("source/background.png", plate)
    landmarks = np.zeros((frames + rejected, 478, 3), np.float32)
    landmarks[:frames, :, :2] = rng.uniform(10, SIZE - 10, (frames, 478, 2))
    workspace.write_npz("source/landmarks.npz", landmarks=landmarks)
    workspace.write_json("source/video.json", {
        "digest": "0" * 64, "width": 320, "height": 240, "fps": 10.0, "duration_s": 4.2, "rotation": 0,
        "crop": [40, 20, 200], "size": SIZE, "frames": frames + rejected, "start_s": 0.0, "every": 1, "codec": "h264",
    })  # fmt: skip
    workspace.write_npz(
        "track/params.npz", shape=params.identity, expr=params.expression, rotation=params.rotation,
        translation=params.translation, neck_pose=params.neck, jaw_pose=params.jaw, eyes_pose=params.eyes,
        frame_idx=np.arange(frames), landmark_offset=np.zeros((478, 3), np.float32), head_model="embedded",
    )  # fmt: skip
    workspace.write_json("track/cameras.json", {
        "K": camera.K, "world_to_camera": camera.world_to_camera, "width": SIZE, "height": SIZE,
    })  # fmt: skip
    workspace.write_json("track/quality.json", {
        "summary": {"landmark_nme": 0.0123, "frames": frames},
        "frames": [{"frame": i, "landmark_nme": 0.01 + i / 1e4} for i in range(frames)],
    })  # fmt: skip
    y, x = np.mgrid[:128, :128]
    workspace.write_image("track/texture.png", np.stack([x * 2, y * 2, 0 * x], -1).astype(np.uint8))
    with workspace.replace_dir("avatars/painted") as folder:
        avatar.save(folder)
    workspace.write_json("avatars/painted/metrics.json", {
        "method": "painted", "split": "blocks", "with_torso": False,
        "rows": [{"step": s, "loss": 1 / (s + 1), "train_psnr": 20 + s, "holdout_psnr": 19 + s} for s in range(5)],
    })  # fmt: skip
    for stage, instance in (("preprocess", ""), ("track", ""), ("fit", "painted")):
        outputs: dict[str, Output] = {}
        save_record(workspace, Record(stage, instance, 1, "f", {"split": "blocks"}, outputs=outputs, seconds=1.0))
    return workspace

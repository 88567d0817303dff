"""A talking head that nobody is: the embedded head with a procedural skin, posed and rendered with everything known.

`make` renders a clip and keeps the truth; `write_workspace` lays it out as preprocess would, with `tracked=True` also
as track would, with the truth in place of an estimate; `write_video` encodes it. No network and no real face is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch

from headavatar.head import HeadModel, load
from headavatar.head.rotations import axis_angle_to_matrix
from headavatar.ops.raster import interpolate, rasterize
from headavatar.scene import ARKIT_NAMES, PARSING_CLASSES, Array, Camera, HeadParams
from headavatar.workspace import Workspace, layout

FPS = 12.0
BACKGROUND = (70, 110, 150)
BROWS = ((70, 63, 105, 66, 107), (300, 293, 334, 296, 336))
_SCALE = 2


@dataclass(frozen=True)
class SyntheticClip:
    """A rendered clip and the truth behind it.

    Attributes:
        images: (T, S, S, 3) uint8, over a plain background.
        mattes, head_mattes: (T, S, S) uint8, with and without clothes.
        parsing: (T, S, S) uint8.
        normals: (T, S, S, 3) uint8.
        landmarks: (T, 478, 3) pixels, with the noise that was asked for; exact: the same without.
        scores: (T, 52).
        times_s: (T,).
        camera, params: the truth.
    """

    images: Array
    mattes: Array
    head_mattes: Array
    parsing: Array
    normals: Array
    landmarks: Array
    exact: Array
    scores: Array
    times_s: Array
    camera: Camera
    params: HeadParams

    def __len__(self) -> int:
        return len(self.times_s)


@cache
def head() -> HeadModel:
    """The embedded head, loaded once."""
    return load()


def motion(frames: int, rng: np.random.Generator) -> HeadParams:
    """A person who nods, turns, talks, blinks, smiles and looks around."""
    t = np.arange(frames) / FPS
    identity = np.zeros(head().identity_size, np.float32)
    identity[:30] = rng.normal(0, 0.6, 30)
    params = HeadParams.neutral(frames, identity)

    def wave(period_s: float) -> Array:
        return np.sin(2 * np.pi * (t / period_s + rng.random()))

    def set_to(names: Sequence[str], values: Array) -> None:
        for name in names:
            params.expression[:, ARKIT_NAMES.index(name)] = np.clip(values, 0, 1)

    set_to(["jawOpen"], 0.25 + 0.25 * wave(0.9))
    set_to(["mouthSmileLeft", "mouthSmileRight"], 0.7 * wave(2.3))
    set_to(["mouthPucker"], 0.6 * wave(1.7) - 0.2)
    set_to(["browInnerUp", "browOuterUpLeft", "browOuterUpRight"], 0.8 * wave(2.9))
    set_to(["browDownLeft", "browDownRight"], 0.7 * wave(3.1) - 0.2)
    set_to(["eyeBlinkLeft", "eyeBlinkRight"], 6 * wave(1.9) - 5)
    gaze = wave(2.1)
    set_to(["eyeLookOutLeft", "eyeLookInRight"], 0.6 * gaze)
    set_to(["eyeLookInLeft", "eyeLookOutRight"], -0.6 * gaze)
    params.rotation[:] = np.stack([0.14 * wave(2.7), 0.30 * wave(3.3), 0.08 * wave(3.9)], 1)
    params.translation[:] = np.stack([0.012 * wave(3.1), 0.008 * wave(2.2), -0.50 + 0.015 * wave(4.1)], 1)
    return params


EXACT = {"landmark_habits": False, "focal_lengths": 0}
"""How such clips are tracked: their landmarks lie where the head has them, and the camera is the usual one."""


def make(
    frames: int = 36,
    size: int = 160,
    seed: int = 0,
    noise_px: float = 0.4,
    drift_px: float = 0.0,
    params: HeadParams | None = None,
) -> SyntheticClip:
    """Render a clip.

    Args:
        frames: number of them, at `FPS`.
        size: side of the pictures, pixels.
        seed: of the person, the motion and the noise.
        noise_px: standard deviation of the landmarks' noise, for pictures of 160 pixels; larger ones in proportion.
        drift_px: standard deviation of an error that neighboring landmarks share, as a network's do; it does not
            average out over the face.
        params: the motion, instead of one made up.
    """
    rng = np.random.default_rng(seed)
    params = motion(frames, rng) if params is None else params
    focal = size / 2 / np.tan(np.radians(22.5))
    camera = Camera(K=np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]]), width=size, height=size)
    with torch.no_grad():
        posed = _pose(params)
        skin = skin_of(head(), params, rng)
        pictures = [render(head(), world, skin, camera) for world in posed]
        points = head().landmark_points(posed).double().numpy()
    pixels, depth = camera.project(points)
    exact = np.concatenate([pixels, ((depth - depth.mean(1, keepdims=True)) * focal / 0.50)[..., None]], -1)
    noise = rng.normal(0, noise_px * size / 160, exact.shape)
    place = head().landmark_points(head().template[None])[0].numpy() / 0.04
    fields = np.cos(place @ rng.normal(0, 1, (3, 12)) + rng.uniform(0, 2 * np.pi, 12)) / np.sqrt(6)
    noise[..., :2] += np.einsum("lk,tkc->tlc", fields, rng.normal(0, drift_px * size / 160, (len(exact), 12, 2)))
    scores = np.clip(params.expression + rng.normal(0, 0.02, params.expression.shape), 0, 1)
    scores[:, ARKIT_NAMES.index("tongueOut")] = 0
    images, mattes, head_mattes, parsing, normals = (np.stack(part) for part in zip(*pictures, strict=True))
    return SyntheticClip(
        images, mattes, head_mattes, parsing, normals, (exact + noise).astype(np.float32), exact.astype(np.float32),
        scores.astype(np.float32), np.arange(len(params)) / FPS, camera, params,
    )  # fmt: skip


def write_workspace(
    path: str | Path,
    frames: int = 36,
    size: int = 160,
    seed: int = 0,
    *,
    clip: SyntheticClip | None = None,
    tracked: bool = False,
) -> Workspace:
    """Lay a clip out as a preprocessed workspace.

    Args:
        path: the folder to make.
        frames, size, seed: of the clip, where none is given.
        clip: what to write.
        tracked: write `track/` too, the truth standing for an estimate.
    """
    clip = clip or make(frames, size, seed)
    workspace = Workspace.create(path)
    side = clip.camera.width
    folders = {
        layout.FRAMES: clip.images, layout.MATTES: clip.mattes, layout.HEAD_MATTES: clip.head_mattes,
        layout.PARSING: clip.parsing, layout.NORMALS: clip.normals,
    }  # fmt: skip
    for folder, pictures in folders.items():
        for i, picture in enumerate(pictures):
            workspace.write_image(f"{folder}/{layout.frame_name(i)}", picture)
    workspace.write_image(layout.VALID, np.full((side, side), 255, np.uint8))
    workspace.write_image(layout.BACKGROUND, np.full((side, side, 3), BACKGROUND, np.uint8))
    workspace.write_npz(
        layout.LANDMARKS, landmarks=clip.landmarks, scores=clip.scores,
        pose=np.tile(np.eye(4, dtype=np.float32), (len(clip), 1, 1)), detected=np.ones(len(clip), bool),
    )  # fmt: skip
    workspace.write_jsonl(
        layout.FRAME_TABLE,
        [
            {"frame": i, "source_frame": i, "time_s": float(t), "usable": True, "reason": "", "faces": 1,
             "sharpness": 1.0}
            for i, t in enumerate(clip.times_s)
        ],
    )  # fmt: skip
    workspace.write_json(
        layout.VIDEO,
        {"digest": f"synthetic-{seed}", "width": side, "height": side, "fps": FPS, "duration_s": len(clip) / FPS,
         "rotation": 0.0, "crop": [0, 0, side], "size": side, "frames": len(clip), "start_s": 0.0, "every": 1,
         "codec": "none"},
    )  # fmt: skip
    if tracked:
        _write_track(workspace, clip)
    return workspace


def write_video(path: str | Path, frames: int = 36, size: int = 256, seed: int = 0) -> SyntheticClip:
    """Encode a clip as H.264 in the container that the path's suffix names."""
    import imageio_ffmpeg

    clip = make(frames, size, seed)
    writer = imageio_ffmpeg.write_frames(
        str(path), (size, size), fps=FPS, codec="libx264", quality=9, macro_block_size=2
    )
    writer.send(None)
    for image in clip.images:
        writer.send(np.ascontiguousarray(image))
    writer.close()
    return clip


def _write_track(workspace: Workspace, clip: SyntheticClip) -> None:
    p = clip.params
    workspace.write_npz(
        layout.PARAMS, shape=p.identity, expr=p.expression, rotation=p.rotation, translation=p.translation,
        neck_pose=p.neck, jaw_pose=p.jaw, eyes_pose=p.eyes, frame_idx=np.arange(len(clip)),
        landmark_offset=np.zeros((478, 3), np.float32), head_model=np.array(head().name),
    )  # fmt: skip
    workspace.write_json(
        layout.CAMERAS,
        {"K": clip.camera.K.tolist(), "world_to_camera": clip.camera.world_to_camera.tolist(),
         "width": clip.camera.width, "height": clip.camera.height, "conventions": layout.CONVENTIONS},
    )  # fmt: skip
    workspace.write_image("track/texture.png", np.full((64, 64, 3), (190, 140, 115), np.uint8))
    workspace.write_json(
        layout.QUALITY,
        {"summary": {"frames": len(clip), "usable": len(clip), "landmark_nme": 0.0, "jitter_deg": 0.0,
                     "silhouette_iou": 1.0},
         "frames": [{"frame": i, "usable": True, "reason": "", "landmark_error": 0.0, "silhouette_iou": 1.0}
                    for i in range(len(clip))]},
    )  # fmt: skip


def _pose(params: HeadParams) -> torch.Tensor:
    tensors = [torch.from_numpy(a) for a in (params.expression, params.rotation, params.translation)]
    vertices = head().vertices(torch.from_numpy(params.identity), tensors[0], torch.from_numpy(params.neck))
    return vertices @ axis_angle_to_matrix(tensors[1]).transpose(1, 2) + tensors[2][:, None]


@dataclass(frozen=True)
class Skin:
    """Vertex colors (V, 3), rest places (V, 3), class of each face (F,), and the waves that make freckles."""

    colors: torch.Tensor
    places: torch.Tensor
    classes: Array
    waves: Array


def skin_of(model: HeadModel, params: HeadParams, rng: np.random.Generator) -> Skin:
    """Skin with brows and freckles, lips, eyes and short hair."""
    rest = model.vertices(torch.from_numpy(params.identity), torch.zeros(1, len(ARKIT_NAMES)))[0]
    points = model.landmark_points(rest[None])[0]
    colors = torch.tensor([0.78, 0.58, 0.47]).repeat(model.vertex_count, 1)
    hair = model.regions["scalp"] & ~model.regions["neck"]
    paint = {
        "lips": (0.68, 0.32, 0.32), "mouth_interior": (0.25, 0.08, 0.08), "teeth": (0.9, 0.88, 0.82),
        "tongue": (0.7, 0.35, 0.35), "eyes": (0.92, 0.92, 0.92), "iris": (0.2, 0.3, 0.35), "lashes": (0.15, 0.1, 0.1),
    }  # fmt: skip
    colors[hair] = torch.tensor([0.22, 0.14, 0.09])
    for region, color in paint.items():
        colors[model.regions[region]] = torch.tensor(color)
    for brow in BROWS:
        near = torch.cdist(rest, points[list(brow)]).amin(1)
        colors[(near < 0.006) & model.regions["face"]] = torch.tensor([0.25, 0.17, 0.12])
    classes = np.full(len(model.faces), PARSING_CLASSES.index("face_skin"), np.uint8)
    classes[model.regions["neck"][model.faces].any(1).numpy()] = PARSING_CLASSES.index("body_skin")
    classes[hair[model.faces].all(1).numpy()] = PARSING_CLASSES.index("hair")
    waves = np.concatenate([rng.normal(0, 260, (14, 3)), rng.uniform(0, 2 * np.pi, (14, 1))], 1)
    return Skin(colors, rest, classes, waves)


def render(
    model: HeadModel, world: torch.Tensor, skin: Skin, camera: Camera
) -> tuple[Array, Array, Array, Array, Array]:
    """Picture, person's matte, head's matte, parsing and normals of one frame, antialiased."""
    size = camera.width
    large = camera.scaled(_SCALE * size, _SCALE * size)
    pixels, depth = large.project(world.double().numpy())
    screen = torch.from_numpy(np.concatenate([pixels, depth[:, None]], 1)).float()
    fragments = rasterize(screen, model.faces, large.height, large.width)
    corners = world[model.faces]
    faces = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = torch.zeros_like(world).index_add(0, model.faces.reshape(-1), faces.repeat_interleave(3, 0))
    normals = torch.nn.functional.normalize(normals, dim=1)
    layers = interpolate(torch.cat([skin.colors, skin.places, normals], 1), model.faces, fragments).numpy()
    color, place, normal = layers[..., :3], layers[..., 3:6], layers[..., 6:]
    freckles = np.cos(place @ skin.waves[:, :3].T.astype(np.float32) + skin.waves[:, 3].astype(np.float32)).mean(-1)
    light = 0.78 + 0.22 * np.clip(normal @ np.array([-0.4, 0.5, 0.77], np.float32), 0, 1)
    mask = fragments.mask.numpy()
    clothes = _shoulders(large, world[model.regions["neck"]])
    picture = np.empty((*mask.shape, 3), np.float32)
    picture[:] = np.array(BACKGROUND) / 255
    picture[clothes] = (0.35, 0.2, 0.45)
    picture = np.where(
        mask[..., None], np.clip(color * (1 + 0.35 * freckles[..., None]) * light[..., None], 0, 1), picture
    )
    index = fragments.face_index.numpy()
    parsing = np.where(clothes, np.uint8(PARSING_CLASSES.index("clothes")), np.uint8(0))
    parsing = np.where(mask, skin.classes[np.maximum(index, 0)], parsing)
    facing = np.where(mask[..., None], normal * 0.5 + 0.5, 0)

    def down(image: Array) -> Array:
        return cv2.resize(image.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)

    def quantized(image: Array) -> Array:
        return np.asarray((down(image) * 255 + 0.5).clip(0, 255).astype(np.uint8))

    nearest = parsing[_SCALE // 2 :: _SCALE, _SCALE // 2 :: _SCALE]
    return quantized(picture), quantized(mask | clothes), quantized(mask), nearest.copy(), quantized(facing)


def _shoulders(camera: Camera, neck_points: torch.Tensor) -> Array:
    """A person's clothes as a half ellipse below the neck."""
    neck = neck_points.mean(0).numpy().astype(np.float64)
    (x, y), _ = camera.project(neck)
    unit = camera.K[0, 0] / 0.50
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    return np.asarray(((columns - x) / (0.2 * unit)) ** 2 + ((rows - y - 0.16 * unit) / (0.14 * unit)) ** 2 < 1)

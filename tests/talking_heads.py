"""Talking heads that nobody is, filmed through a real video file, with everything known that a tracker should find.

The embedded head gets a random person, skin, light and camera, speaks and pulls faces for some seconds while it turns
up to 45° to either side, and is encoded as H.264. Networks see the video as they would see anybody's.

    python tests/talking_heads.py --clips 5 --out DIR [--track]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from portrait_skin import Skin, paint, vertex_normals
from speech import Performance, perform
from torch import Tensor

from headavatar.head import HeadModel, load
from headavatar.head.rotations import axis_angle_to_matrix, axis_angle_to_matrix_np, matrix_to_axis_angle_np
from headavatar.ops.raster import interpolate, rasterize
from headavatar.scene import Array, Camera, HeadParams

MODES = 40
SPREAD = 0.7
_SUPERSAMPLING = 2
_LASH_OPACITY = 0.45
_PIVOT = np.array([0.0, -0.07, 0.015])
"""About this point of the neck, head space, a head nods and turns."""
_TORSO_SHARE = np.array([0.0, 0.25, 0.1], np.float32)
"""How much of the head's nodding, turning and tilting the torso takes part in; the neck bends by the rest."""


@dataclass(frozen=True)
class Truth:
    """What made a clip.

    Attributes:
        camera: of the whole picture.
        params: of all frames.
        gaze: (T, 6) left and right eyeball's rotation in head space, axis-angle.
        landmarks: (T, 478, 2) MediaPipe's points on the true mesh, pixels of the whole picture.
        fps: frames per second.
    """

    camera: Camera
    params: HeadParams
    gaze: Array
    landmarks: Array
    fps: float

    def save(self, path: Path) -> None:
        """Write as npz."""
        p = self.params
        np.savez_compressed(
            path, K=self.camera.K, width=self.camera.width, height=self.camera.height, fps=self.fps,
            identity=p.identity, expression=p.expression, rotation=p.rotation, translation=p.translation, neck=p.neck,
            gaze=self.gaze, landmarks=self.landmarks,
        )  # fmt: skip

    @staticmethod
    def load(path: Path) -> Truth:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            data = {key: file[key] for key in file.files}
        params = HeadParams.neutral(len(data["rotation"]), data["identity"], data["expression"].shape[1])
        params.expression[:], params.rotation[:] = data["expression"], data["rotation"]
        params.translation[:], params.neck[:] = data["translation"], data["neck"]
        camera = Camera(K=data["K"], width=int(data["width"]), height=int(data["height"]))
        return Truth(camera, params, data["gaze"], data["landmarks"], float(data["fps"]))


@dataclass(frozen=True)
class Light:
    """Fixed in the world: (9, 3) harmonics of the diffuse light, and a lamp's direction (3,) and color (3,)."""

    diffuse: Tensor
    lamp: Tensor
    lamp_color: Tensor


@cache
def head() -> HeadModel:
    """The embedded head, loaded once."""
    return load()


def film(path: Path, seed: int, frames: int = 200, width: int = 640, height: int = 480, crf: int = 20) -> Truth:
    """Render a clip into a video file, and write the truth beside it as .npz.

    Args:
        path: of the video.
        seed: of person, light, camera and what is said.
        frames: number of them.
        width, height: of the picture, pixels.
        crf: H.264's quality, smaller is better.
    """
    import imageio_ffmpeg

    rng = np.random.default_rng(seed)
    fps = float(rng.choice([25.0, 30.0]))
    truth = cast(perform(frames, fps, rng), fps, rng, width, height)
    writer = imageio_ffmpeg.write_frames(
        str(path), (width, height), fps=fps, codec="libx264", macro_block_size=2, pix_fmt_in="rgb24",
        pix_fmt_out="yuv420p", quality=None, output_params=["-crf", str(crf)],
    )  # fmt: skip
    writer.send(None)
    for image in pictures(truth, rng):
        writer.send(np.ascontiguousarray(image))
    writer.close()
    truth.save(path.with_suffix(".npz"))
    return truth


def cast(performance: Performance, fps: float, rng: np.random.Generator, width: int, height: int) -> Truth:
    """Cast a person, and put the camera where the head fills about half of the picture's height."""
    identity = np.zeros(head().identity_size, np.float32)
    identity[:MODES] = np.clip(rng.normal(0, SPREAD, MODES), -1.8, 1.8)
    field_of_view = float(rng.uniform(25, 55))
    longer = max(width, height)
    focal = longer / 2 / np.tan(np.radians(field_of_view) / 2)
    camera = Camera(K=np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]), width=width, height=height)
    distance = 0.25 * focal / (height * float(rng.uniform(0.50, 0.60)))
    params = HeadParams.neutral(len(performance), identity)
    params.expression[:], params.rotation[:] = performance.expression, performance.rotation
    params.neck[:] = bent_neck(params.rotation)
    turned = axis_angle_to_matrix(torch.from_numpy(params.rotation)).numpy() @ _PIVOT.astype(np.float32)
    stand = np.array([0.0, -0.08, -distance]) + performance.sway * min(1.0, distance / 0.6)
    params.translation[:] = stand - turned
    with torch.no_grad():
        expression = torch.from_numpy(params.expression)
        points = head().landmark_points(posed(params)).double().numpy()
        gaze = head().gaze(expression).numpy()
    pixels, _ = camera.project(points)
    return Truth(camera, params, gaze, pixels.astype(np.float32), fps)


def bent_neck(rotation: Array) -> Array:
    """(T, 3) rotation of the skull relative to a torso that follows (T, 3) the head's by some of it."""
    torso, skull = (axis_angle_to_matrix_np(part) for part in (rotation * _TORSO_SHARE, rotation))
    return matrix_to_axis_angle_np(np.swapaxes(torso, 1, 2) @ skull).astype(np.float32)


def posed(params: HeadParams) -> Tensor:
    """(T, V, 3) vertices in world space."""
    tensors = (params.identity, params.expression, params.rotation, params.translation, params.neck)
    return head().posed(*(torch.from_numpy(a) for a in tensors))


def pictures(truth: Truth, rng: np.random.Generator) -> Iterator[Array]:
    """(H, W, 3) uint8 frames of a clip, with the sensor's noise."""
    rest = head().vertices(torch.from_numpy(truth.params.identity), torch.zeros(1, 52))[0]
    with torch.no_grad():
        skin, light = paint(head(), rest, rng), _light(rng)
        backdrop = _backdrop(truth.camera, rng)
        bust = Bust.of(rest, rng)
        grain, breath = rng.uniform(1.0, 2.5), rng.uniform(0, 0.02)
        for i in range(len(truth.params)):
            picture = _shoot(truth, i, skin, light, backdrop, bust)
            gain = 1 + breath * np.sin(i / 37)
            picture = picture * 255 * gain + rng.normal(0, grain, picture.shape).astype(np.float32)
            yield (picture + 0.5).clip(0, 255).astype(np.uint8)


def _light(rng: np.random.Generator) -> Light:
    """A soft room and one lamp, in front of the head, above or to the side of it."""
    side, up = rng.uniform(-1.0, 1.0), rng.uniform(0.0, 0.7)
    lamp = torch.nn.functional.normalize(torch.tensor([side, up, 1.0]), dim=0)
    warmth = float(rng.uniform(-0.05, 0.05))
    lamp_color = torch.tensor([1 + warmth, 1.0, 1 - warmth]) * float(rng.uniform(0.25, 0.5))
    diffuse = torch.from_numpy(rng.normal(0, 0.03, (9, 1)) + rng.normal(0, 0.01, (9, 3))).float()
    diffuse[0] = 0.68
    diffuse[2] += 0.08  # from above
    return Light(diffuse, lamp, lamp_color)


def _shoot(truth: Truth, frame: int, skin: Skin, light: Light, backdrop: Array, bust: Bust) -> Array:
    """(H, W, 3) float in [0, 1], one frame antialiased, without noise."""
    model, camera = head(), truth.camera
    large = camera.scaled(_SUPERSAMPLING * camera.width, _SUPERSAMPLING * camera.height)
    world = posed(truth.params[frame])[0]
    normals = vertex_normals(world, model.faces)
    on_screen = screen(world, large)
    solid, lashes = _parts()
    fragments = rasterize(on_screen, model.faces[solid], large.height, large.width)
    fringe = rasterize(on_screen, model.faces[lashes], large.height, large.width)
    worn = bust.at(truth.params.translation[frame], truth.params.rotation[frame])
    cloth = rasterize(screen(worn, large), bust.faces, large.height, large.width)
    picture = backdrop.copy()
    behind = cloth.depth > 0
    cloth_normals = vertex_normals(worn, bust.faces)
    picture[behind.numpy()] = _shaded(
        interpolate(bust.colors, bust.faces, cloth)[behind], interpolate(cloth_normals, bust.faces, cloth)[behind],
        light,
    )  # fmt: skip
    front = fragments.mask & (~behind | (fragments.depth < cloth.depth))
    vertex = torch.cat([normals, world, skin.openness[:, None], skin.gloss[:, None], skin.shininess[:, None]], 1)
    layer = interpolate(vertex, model.faces[solid], fragments)[front]
    uv = interpolate(model.uvs, model.uv_faces[solid], fragments)[front] * torch.tensor([2.0, -2.0]) + torch.tensor(
        [-1.0, 1.0]
    )
    albedo = torch.nn.functional.grid_sample(skin.albedo.permute(2, 0, 1)[None], uv[None, None], align_corners=False)
    open_to = layer[:, 6:7] * 0.75 + 0.25
    shaded = torch.from_numpy(_shaded(albedo[0, :, 0].T * open_to, layer[:, :3], light))
    normal = torch.nn.functional.normalize(layer[:, :3], dim=1)
    half = torch.nn.functional.normalize(light.lamp - torch.nn.functional.normalize(layer[:, 3:6], dim=1), dim=1)
    shine = (normal * half).sum(1).clamp(min=0) ** layer[:, 8]
    picture[front.numpy()] = shaded + (shine * layer[:, 7] * layer[:, 6])[:, None] * light.lamp_color * 2
    fringed = (fringe.mask & ((fragments.depth > fringe.depth) | ~fragments.mask)).numpy()
    picture[fringed] *= 1 - _LASH_OPACITY
    size = (camera.width, camera.height)
    return cv2.resize(cv2.GaussianBlur(picture, (0, 0), 0.9), size, interpolation=cv2.INTER_AREA).clip(0, 1)


@cache
def _parts() -> tuple[Tensor, Tensor]:
    """(F,) bool: faces that hide what is behind them, and lashes, which are hairs with air between them."""
    lashes = head().regions["lashes"][head().faces].all(1)
    return ~lashes, lashes


def screen(world: Tensor, camera: Camera) -> Tensor:
    """(V, 3) pixels and depth of world points."""
    pixels, depth = camera.project(world.double().numpy())
    return torch.from_numpy(np.concatenate([pixels, depth[:, None]], 1)).float()


def _shaded(albedo: Tensor, normals: Tensor, light: Light) -> Array:
    """(N, 3) albedo under the room's light and the lamp."""
    normal = torch.nn.functional.normalize(normals, dim=1)
    soft = (_harmonics(normal) @ light.diffuse).clamp(min=0.1)
    lamp = (normal @ light.lamp).clamp(min=0)[:, None] * light.lamp_color
    return np.asarray((albedo * (soft + lamp)).numpy())


def _harmonics(normals: Tensor) -> Tensor:
    """(N, 9) spherical harmonics up to the second order of unit vectors, without their constants."""
    x, y, z = normals.unbind(-1)
    return torch.stack([torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], -1)


@dataclass(frozen=True)
class Bust:
    """Shoulders in clothes, which hang from the neck's foot and hardly turn with the head.

    Attributes:
        vertices: (V, 3) metres, from the pivot.
        faces: (F, 3).
        colors: (V, 3).
    """

    vertices: Tensor
    faces: Tensor
    colors: Tensor

    @staticmethod
    def of(rest: Tensor, rng: np.random.Generator) -> Bust:
        """Sew clothes around a person's neck."""
        foot = rest[head().regions["neck"]]
        width = float(foot[foot[:, 1] < -0.1][:, 0].abs().max())
        # below the pivot, half width, half depth, middle's depth: collar, slope of the shoulders, chest
        rings = np.array(
            [[0.035, width * 0.9, 0.052, -0.005], [0.030, width + 0.004, 0.058, -0.005],
             [0.045, width + 0.025, 0.075, -0.012], [0.070, 0.125, 0.09, -0.02], [0.095, 0.18, 0.10, -0.03],
             [0.14, 0.215, 0.11, -0.03], [0.45, 0.22, 0.12, -0.03]]
        )  # fmt: skip
        t = np.linspace(0, len(rings) - 1, 60)
        rows = np.stack([np.interp(t, np.arange(len(rings)), column) for column in rings.T], 1)
        turn = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        tilt = 0.018 * np.exp(-(((rows[:, :1] - 0.035) / 0.05) ** 2))  # the collar hangs lower in front
        x = rows[:, 1:2] * np.sin(turn)
        z = rows[:, 3:4] + rows[:, 2:3] * np.cos(turn)
        y = -rows[:, :1] - tilt * np.cos(turn)
        vertices = np.stack([x, y, z], -1).reshape(-1, 3)
        index = np.arange(60 * 96).reshape(60, 96)
        a, b = index[:-1], np.roll(index, -1, 1)[:-1]
        c, d = index[1:], np.roll(index, -1, 1)[1:]
        faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
        color, stripe = rng.uniform(0.08, 0.75, 3), rng.uniform(0, 0.25)
        weave = (
            1
            + stripe * np.sign(np.sin(vertices[:, 1:2] * rng.uniform(150, 500)))
            + rng.normal(0, 0.03, (len(vertices), 1))
        )
        return Bust(
            torch.from_numpy(vertices).float(), torch.from_numpy(faces),
            torch.from_numpy(color * weave).float().clamp(0.02, 1),
        )  # fmt: skip

    def at(self, translation: Array, rotation: Array) -> Tensor:
        """(V, 3) world space, under a head's pose."""
        turned = axis_angle_to_matrix(torch.from_numpy(rotation * _TORSO_SHARE))
        pivot = (
            torch.from_numpy(translation)
            + axis_angle_to_matrix(torch.from_numpy(rotation)) @ torch.tensor(_PIVOT).float()
        )
        return self.vertices @ turned.T + pivot


def _backdrop(camera: Camera, rng: np.random.Generator) -> Array:
    """(H, W, 3) float, twice the picture's size: a wall out of focus."""
    height, width = _SUPERSAMPLING * camera.height, _SUPERSAMPLING * camera.width
    coarse = (
        rng.uniform(0.2, 0.8) + rng.normal(0, 0.06, 3) + rng.normal(0, 0.02, (7, 9, 3)) + rng.normal(0, 0.06, (7, 9, 1))
    )
    wall = cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.GaussianBlur(wall, (0, 0), width / 60).clip(0.02, 0.98))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=5)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the first clip; each further one adds 1")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=256, choices=(256, 512), help="of the crop that is tracked")
    parser.add_argument("--track", action="store_true", help="preprocess and track the clips, and print the table")
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    for i in range(words.clips):
        film(words.out / f"{i}.mp4", words.seed + i, words.frames)
    if words.track:
        from truth_figures import table, track_clip

        print(table([row for i in range(words.clips) for row in track_clip(words.out / f"{i}.mp4", words.size)]))


if __name__ == "__main__":
    main()

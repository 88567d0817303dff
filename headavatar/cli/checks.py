"""The checks of `doctor`: each part is present, absent or broken, with the reason and the command that mends it."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib
import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PRESENT, ABSENT, BROKEN = "present", "absent", "broken"


@dataclass(frozen=True)
class Part:
    """One thing that the program can use.

    Attributes:
        name: what it is.
        state: present, absent or broken.
        needed: the pipeline does not run without it.
        detail: its version, or why it is not there.
        fix: the command that gets it, or "".
    """

    name: str
    state: str
    needed: bool
    detail: str = ""
    fix: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


_CORE = {  # distribution: module
    "torch": "torch", "numpy": "numpy", "scipy": "scipy", "mediapipe": "mediapipe", "onnxruntime": "onnxruntime",
    "ai-edge-litert": "ai_edge_litert", "safetensors": "safetensors", "ffmpeg-python": "ffmpeg",
}  # fmt: skip
_LIBRARIES = {
    "libEGL": ("libEGL.so.1", "apt-get install libegl1", "mediapipe needs it"),
    "libGLESv2": ("libGLESv2.so.2", "apt-get install libgles2", "mediapipe needs it"),
    "libGL": ("libGL.so.1", "apt-get install libgl1", "opencv needs it"),
    "libgthread": ("libgthread-2.0.so.0", "apt-get install libglib2.0-0", "opencv needs it"),
}


def machine() -> dict[str, Any]:
    """Python, system, processor, memory and disk."""
    from headavatar import __version__
    from headavatar.workspace import provenance

    free = shutil.disk_usage(Path.cwd()).free
    found = {
        "headavatar": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "cpu": provenance.cpu_name(),
        "cores": provenance.usable_cores(),
        "memory_gb": provenance.memory_gb(),
        "disk_free_gb": round(free / 1e9, 1),
    }
    import torch

    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name(0)
    return found


def parts() -> list[Part]:
    """Every part, in the order in which the pipeline meets them."""
    return [
        *(package(name, module, needed=True, fix=f"pip install {name}") for name, module in _CORE.items()),
        opencv(),
        ffmpeg(),
        *libraries(),
        package("face-alignment", "face_alignment", needed=False, fix="pip install face-alignment"),
        *kernels(),
        *networks(),
        *heads(),
    ]


def package(name: str, module: str, *, needed: bool, fix: str) -> Part:
    """A Python package: installed, and does it import?"""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        if importlib.util.find_spec(module) is None:
            return Part(name, ABSENT, needed, "not installed", fix)
        version = "unknown version"
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken build can raise anything
        return Part(name, BROKEN, needed, f"{version}: {type(error).__name__}: {error}".splitlines()[0], fix)
    return Part(name, PRESENT, needed, version)


def opencv() -> Part:
    """OpenCV: the two wheels that hold cv2 overwrite each other, so they must be of one version."""
    versions = {}
    for name in ("opencv-python", "opencv-contrib-python", "opencv-python-headless", "opencv-contrib-python-headless"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    detail = ", ".join(f"{name} {version}" for name, version in versions.items())
    if len(set(versions.values())) > 1:
        pair = " ".join(f"{name}=={max(versions.values())}" for name in versions)
        return Part("opencv", BROKEN, True, f"two versions in one folder: {detail}", f"pip install {pair}")
    found = package("opencv-python", "cv2", needed=True, fix="pip install opencv-python opencv-contrib-python")
    return Part("opencv", found.state, True, detail or found.detail, found.fix)


def ffmpeg() -> Part:
    """The ffmpeg that decodes and encodes: it comes in imageio-ffmpeg's wheel."""
    fix = "pip install imageio-ffmpeg"
    try:
        import imageio_ffmpeg

        binary = imageio_ffmpeg.get_ffmpeg_exe()
        said = subprocess.run([binary, "-version"], capture_output=True, text=True, check=True, timeout=20).stdout
    except ImportError:
        return Part("ffmpeg", ABSENT, True, "imageio-ffmpeg is not installed", fix)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        return Part("ffmpeg", BROKEN, True, str(error).splitlines()[0], fix)
    return Part("ffmpeg", PRESENT, True, said.split(" Copyright")[0].removeprefix("ffmpeg version "))


def libraries() -> list[Part]:
    """System libraries that the wheels expect; only Linux leaves them to its packages."""
    if platform.system() != "Linux":
        return []
    found = []
    for name, (file, fix, why) in _LIBRARIES.items():
        try:
            ctypes.CDLL(file)
            found.append(Part(name, PRESENT, True, file))
        except OSError:
            found.append(Part(name, ABSENT, name in ("libEGL", "libGLESv2"), why, fix))
    return found


def kernels() -> list[Part]:
    """What kernels can run on, and which of it they use."""
    from headavatar.ops import backend

    return [
        Part(
            part.name,
            PRESENT if part.present else ABSENT,
            False,
            part.detail + ("; in use" if part.used else ""),
            part.fix,
        )
        for part in backend.report()
    ]


def networks() -> list[Part]:
    """The pretrained networks: in the cache or not."""
    from headavatar.pretrained.cache import location
    from headavatar.pretrained.catalog import ENTRIES

    found = []
    for entry in ENTRIES.values():
        if location(entry).exists():
            found.append(Part(f"network: {entry.name}", PRESENT, False, entry.licence))
        else:
            why = f"not fetched; {entry.opt_in}" if entry.opt_in else "not fetched yet; comes when it is needed"
            found.append(Part(f"network: {entry.name}", ABSENT, False, why, f"headavatar models fetch {entry.name}"))
    return found


def heads() -> list[Part]:
    """Head models that the user added, and how well each says ARKit's expressions."""
    from headavatar.errors import ModelError
    from headavatar.head import added
    from headavatar.pretrained.cache import head_models

    found = []
    for name in head_models():
        try:
            report = added.report(name)
        except ModelError as error:
            found.append(Part(f"head: {name}", BROKEN, False, error.what, error.fix))
            continue
        detail = report.kind
        if report.residual_mm:
            worst = max(report.residual_mm, key=lambda shape: report.residual_mm[shape])
            detail += f"; leaves up to {report.residual_mm[worst]:.1f} mm of an expression unsaid ({worst})"
        fix = ""
        if report.outdated:
            detail += "; made by another version of headavatar"
            fix = f"headavatar models add {report.kind} FILE --name {name}"
        found.append(Part(f"head: {name}", BROKEN if report.outdated else PRESENT, False, detail, fix))
    return found

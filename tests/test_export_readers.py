"""GLBs in the programs that people open them with, where these are there: Khronos's validator, three.js, Blender."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pygltflib
import pytest
from mesh_avatar import SIDE, workspace_with_mesh
from test_export_glb import accessor

from headavatar.export.settings import ExportSettings
from headavatar.export.stage import run
from headavatar.progress import RunContext
from headavatar.scene import ARKIT_NAMES

pytestmark = pytest.mark.slow
BONES = ["root", "neck", "jaw", "eye_left", "eye_right"]

VALIDATE = """
const bytes = new Uint8Array(require('fs').readFileSync(process.argv[2]));
require('gltf-validator').validateBytes(bytes).then(r => console.log(JSON.stringify(r)));
"""

LOAD = """
import fs from 'fs';
import {GLTFLoader} from 'three/examples/jsm/loaders/GLTFLoader.js';
globalThis.self = globalThis;
console.error = () => {};  // node decodes no pictures; the mesh is what this looks at
const data = fs.readFileSync(process.argv[2]);
const buffer = data.buffer.slice(data.byteOffset, data.byteOffset + data.length);
new GLTFLoader().parse(buffer, '', file => {
  let mesh;
  file.scene.traverse(o => { if (o.morphTargetDictionary) mesh = o; });
  console.log(JSON.stringify({
    names: Object.entries(mesh.morphTargetDictionary).sort((a, b) => a[1] - b[1]).map(e => e[0]),
    bones: mesh.skeleton.bones.map(b => b.name), tracks: file.animations[0].tracks.length,
    duration: file.animations[0].duration,
  }));
});
"""

PAGE = """<!doctype html><pre id="said"></pre><canvas id="canvas"></canvas>
<script type="importmap">{"imports": {"three": "/node_modules/three/build/three.module.js"}}</script>
<script type="module">
import * as THREE from 'three';
import {GLTFLoader} from '/node_modules/three/examples/jsm/loaders/GLTFLoader.js';
const canvas = document.getElementById('canvas');
const renderer = new THREE.WebGLRenderer({canvas, preserveDrawingBuffer: true});
renderer.setSize(192, 192);
const scene = new THREE.Scene(), camera = new THREE.PerspectiveCamera(22, 1, 0.1, 10);
camera.position.set(0, 0.02, 0.95);
new GLTFLoader().load('/head.glb', file => {
  scene.add(file.scene);
  let mesh;
  file.scene.traverse(o => { if (o.morphTargetDictionary) { mesh = o; o.frustumCulled = false; } });
  const flat = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const shot = () => {
    renderer.render(scene, camera);
    flat.drawImage(canvas, 0, 0);
    return flat.getImageData(0, 0, 192, 192).data;
  };
  const colors = shot();
  mesh.material = new THREE.MeshNormalMaterial({flatShading: true});  // a small move shows whatever the texture is
  const rest = shot(), changed = {};
  for (const [name, index] of Object.entries(mesh.morphTargetDictionary)) {
    mesh.morphTargetInfluences.fill(0);
    mesh.morphTargetInfluences[index] = 1;
    changed[name] = shot().filter((value, i) => Math.abs(value - rest[i]) > 8).length;
  }
  const shown = colors.filter((value, i) => i % 4 != 3 && value > 8).length;
  document.getElementById('said').textContent = JSON.stringify({shown, changed});
});
</script>
"""

BLEND = """
import json, sys
import numpy as np
for name, kind in (("bool", bool), ("int", int), ("float", float)):  # Blender's importer was written for an older numpy
    if name not in np.__dict__:
        setattr(np, name, kind)
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=sys.argv[-1])
mesh = next(thing for thing in bpy.data.objects if thing.type == "MESH" and thing.data.shape_keys)
rig = next(thing for thing in bpy.data.objects if thing.type == "ARMATURE")
def places(key):
    flat = np.empty(3 * len(key.data), np.float32)
    key.data.foreach_get("co", flat)
    return flat.reshape(-1, 3)
keys = list(mesh.data.shape_keys.key_blocks)
rest = places(keys[0])
print("SAID" + json.dumps({
    "moved": {key.name: float(np.linalg.norm(places(key) - rest, axis=1).max()) for key in keys[1:]},
    "bones": [bone.name for bone in rig.data.bones], "triangles": len(mesh.data.polygons),
    "images": [list(image.size) for image in bpy.data.images], "actions": len(bpy.data.actions),
    "height": float(np.ptp(rest[:, 2])),
}))
"""


@pytest.fixture(scope="module", params=["", "plaster"], ids=["tracked-head", "mesh-avatar"])
def glb(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print(f"seed {seed}")
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("glb") / "anna.avatar"
        workspace = workspace_with_mesh(folder, np.random.default_rng(seed), patch)
        files = run(workspace, ExportSettings(format="glb", avatar=request.param), RunContext())["files"]
        yield workspace.path(files[0])


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"name": "readers", "private": true}')
    command = ["npm", "install", "--no-audit", "--no-fund", "gltf-validator@2.0.0-dev.3.10", "three@0.170.0"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    if done.returncode:
        pytest.skip(f"npm could not install the readers: {done.stderr.strip()[-300:]}")
    return folder


def node(folder: Path, name: str, script: str, file: Path) -> Any:
    (folder / name).write_text(script)
    done = subprocess.run(["node", name, str(file)], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_khronos_validator_has_nothing_to_say(node_modules: Path, glb: Path) -> None:
    report = node(node_modules, "validate.cjs", VALIDATE, glb)
    issues = report["issues"]
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]
    assert report["info"]["hasMorphTargets"] and report["info"]["animationCount"] == 1


def test_three_js_finds_the_targets_by_name(node_modules: Path, glb: Path) -> None:
    seen = node(node_modules, "three.mjs", LOAD, glb)
    assert seen["names"] == list(ARKIT_NAMES) and seen["bones"] == BONES
    assert seen["tracks"] == 7 and seen["duration"] == pytest.approx(3.5)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *values: Any) -> None: ...


def test_a_browser_draws_every_target(node_modules: Path, glb: Path, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    (node_modules / "index.html").write_text(PAGE)
    shutil.copy(glb, node_modules / "head.glb")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(node_modules))
    )  # fmt: skip
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = ["--headless", "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-sync",
             "--disable-component-update", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
             "--virtual-time-budget=60000", f"--user-data-dir={tmp_path}", "--dump-dom"]  # fmt: skip
    try:
        done = subprocess.run(
            [browser, *flags, f"http://127.0.0.1:{server.server_port}/"], capture_output=True, text=True, timeout=120
        )  # fmt: skip
    finally:
        server.shutdown()
    said = done.stdout.partition('<pre id="said">')[2].partition("</pre>")[0]
    assert said, done.stderr[-500:]
    seen = json.loads(said)
    assert seen["shown"] > 4000 and list(seen["changed"]) == list(ARKIT_NAMES)
    unmoved = [name for name, pixels in seen["changed"].items() if pixels < 10]
    assert not unmoved, unmoved


def test_blender_has_the_keys_the_bones_and_the_texture(glb: Path, tmp_path: Path) -> None:
    blender = shutil.which("blender")
    if blender is None:
        pytest.skip("Blender is not installed")
    script = tmp_path / "look.py"
    script.write_text(BLEND)
    command = [blender, "--background", "--factory-startup", "--python", str(script), "--", str(glb)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    said = next((line for line in done.stdout.splitlines() if line.startswith("SAID")), "")
    assert said, done.stdout[-500:] + done.stderr[-500:]
    seen = json.loads(said.removeprefix("SAID"))
    file = pygltflib.GLTF2().load(str(glb))
    targets = file.meshes[0].primitives[0].targets
    assert list(seen["moved"]) == list(ARKIT_NAMES) and seen["bones"] == BONES and seen["actions"] == 2
    for name, target in zip(ARKIT_NAMES, targets, strict=True):
        moved = np.linalg.norm(accessor(file, target["POSITION"]), axis=1).max()
        assert seen["moved"][name] == pytest.approx(moved, abs=1e-5), name
    side = SIDE if glb.name == "plaster.glb" else 128
    assert seen["images"] == [[side, side]] and 0.2 < seen["height"] < 0.4
    assert seen["triangles"] == file.accessors[file.meshes[0].primitives[0].indices].count // 3

"""The workspace: a folder that holds one person's clip and everything made from it."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from headavatar import __version__
from headavatar.errors import WorkspaceError
from headavatar.scene import Array
from headavatar.workspace import atomic, layout


class Workspace:
    """A folder on disk, opened.

    Files are named by paths relative to the root, with forward slashes. Every writer is atomic and remembers what it
    wrote in `written`, so that the stage's record can list it.

    Args:
        root: the folder; use `create` or `open`, which check it.
    """

    def __init__(self, root: Path, info: dict[str, Any]) -> None:
        self.root = root
        self.info = info
        self.written: set[str] = set()

    @classmethod
    def create(cls, path: str | Path) -> Workspace:
        """Make a workspace, or open the one that is there.

        Args:
            path: the folder; made with its parents where missing.
        Raises:
            WorkspaceError: the folder cannot be written, or holds something else.
        """
        root = Path(path).absolute()
        if (root / layout.INFO).exists():
            return cls.open(root)
        if root.exists() and not root.is_dir():
            raise WorkspaceError(
                f"{root} is a file, not a workspace.", why="A workspace is a folder.", fix="Choose another --out."
            )
        leftovers = {layout.STATE} if root.exists() else set()
        if root.exists() and any(entry.name not in leftovers for entry in root.iterdir()):
            raise WorkspaceError(
                f"{root} is not empty and not a workspace.",
                why=f"It has no {layout.INFO}.",
                fix=f"Choose another --out, such as {root.name}{layout.SUFFIX}.",
            )
        info = {
            "schema": layout.SCHEMA,
            "written_by": __version__,
            "id": uuid.uuid4().hex,
            "source": {},
            "conventions": layout.CONVENTIONS,
        }
        with atomic.disk_errors(root):
            (root / layout.TMP).mkdir(parents=True, exist_ok=True)
        atomic.write_json(root / layout.INFO, info, root / layout.TMP)
        return cls(root, info)

    @classmethod
    def open(cls, path: str | Path) -> Workspace:
        """Open an existing workspace.

        Raises:
            WorkspaceError: it is missing, damaged, or of a newer schema.
        """
        root = Path(path).absolute()
        file = root / layout.INFO
        try:
            info = json.loads(file.read_text(encoding="utf-8"))
            schema = info["schema"]
            if not isinstance(schema, int):
                raise ValueError("schema is not a number")
        except (FileNotFoundError, NotADirectoryError):
            raise WorkspaceError(
                f"{root} is not a workspace.",
                why=f"It has no {layout.INFO}.",
                fix="Make one with `headavatar preprocess VIDEO`, or name another with -w.",
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WorkspaceError(
                f"{file} is damaged.",
                why=f"It is not the JSON that this program writes ({error}).",
                fix=f"Put back a copy of it, or delete it and run `headavatar preprocess VIDEO --out {root.name}`.",
            ) from error
        except OSError as error:
            raise WorkspaceError(f"{file} could not be read.", why=str(error), fix="Check its rights.") from error
        if schema > layout.SCHEMA:
            writer = info.get("written_by", "a newer version")
            raise WorkspaceError(
                f"{root} has workspace schema {schema}; headavatar {__version__} reads up to {layout.SCHEMA}.",
                why=f"It was written by headavatar {writer}.",
                fix=f"Use headavatar {writer} or newer: pip install 'headavatar>={writer}'.",
            )
        return cls(root, info)

    @property
    def name(self) -> str:
        """The folder's name without `.avatar`."""
        return self.root.name.removesuffix(layout.SUFFIX)

    def update_info(self, **values: Any) -> None:
        """Change entries of workspace.json."""
        self.info = {**self.info, **values}
        atomic.write_json(self.root / layout.INFO, self.info, self.root / layout.TMP)

    def path(self, *parts: str) -> Path:
        """An absolute path inside the workspace; nothing is created."""
        return self.root.joinpath(*parts)

    def partial_dir(self, stage: str) -> Path:
        """A folder for work in progress that survives a kill.

        The pipeline empties it when the stage is done, and when a run starts with other settings than those that the
        partial work was made with.

        Args:
            stage: the stage's name, with `.instance` where it has several results (`fit.nerf-blendshape`).
        """
        folder = self.path(layout.TMP, stage)
        with atomic.disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_partial(self, stage: str) -> None:
        """Delete a stage's work in progress."""
        shutil.rmtree(self.path(layout.TMP, stage), ignore_errors=True)

    def sweep(self) -> None:
        """Delete the half-written files that killed runs left behind; only for the holder of the lock."""
        for path in self.path(layout.TMP).glob(f"{atomic.TEMPORARY}*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def read_json(self, rel: str) -> Any:
        """Read a JSON file.

        Raises:
            WorkspaceError: it is missing or damaged; the message names it and how to get it back.
        """
        return json.loads(self._read(rel, lambda data: json.loads(data)))

    def read_jsonl(self, rel: str) -> list[Any]:
        """Read a file with one JSON value a line."""
        text = self._read(rel, lambda data: [json.loads(line) for line in data.splitlines() if line.strip()])
        return [json.loads(line) for line in text.splitlines() if line.strip()]

    def read_npz(self, rel: str) -> dict[str, Array]:
        """Read named arrays; nothing pickled is ever loaded."""
        try:
            with np.load(self.path(rel), allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except FileNotFoundError:
            raise self._missing(rel) from None
        except Exception as error:  # zipfile, zlib and numpy each raise their own kinds
            raise self._damaged(rel, error) from error

    def write_bytes(self, rel: str, data: bytes) -> Path:
        """Write bytes, atomically."""
        return self._note(rel, atomic.write_bytes(self.path(rel), data, self._staging))

    def write_text(self, rel: str, text: str) -> Path:
        """Write UTF-8 text, atomically."""
        return self._note(rel, atomic.write_text(self.path(rel), text, self._staging))

    def write_json(self, rel: str, value: Any) -> Path:
        """Write JSON, atomically; numpy values are allowed, NaN becomes null."""
        return self._note(rel, atomic.write_json(self.path(rel), value, self._staging))

    def write_jsonl(self, rel: str, rows: list[Any]) -> Path:
        """Write one JSON value a line, atomically."""
        lines = (json.dumps(json.loads(atomic.json_text(row)), ensure_ascii=False) for row in rows)
        return self.write_text(rel, "".join(line + "\n" for line in lines))

    def write_npz(self, rel: str, **arrays: Any) -> Path:
        """Write named arrays, atomically."""
        return self._note(rel, atomic.write_npz(self.path(rel), arrays, self._staging))

    def write_image(self, rel: str, image: Array) -> Path:
        """Write a picture, atomically; (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) gray, uint8.

        It is flushed to disk with the stage's record, not one by one: thousands of frames would wait for the disk.
        """
        return self._note(rel, atomic.write_image(self.path(rel), image, self._staging, sync=False))

    @contextmanager
    def replace_file(self, rel: str) -> Iterator[Path]:
        """Give a temporary path with the same suffix, renamed to `rel` when the block ends well."""
        with atomic.replace_file(self.path(rel), self._staging) as temporary:
            yield temporary
        self.written.add(rel)

    @contextmanager
    def replace_dir(self, rel: str) -> Iterator[Path]:
        """Give a temporary folder that takes the place of `rel` when the block ends well."""
        with atomic.replace_dir(self.path(rel), self._staging) as temporary:
            yield temporary
        self.written.update(
            file.relative_to(self.root).as_posix() for file in self.path(rel).rglob("*") if file.is_file()
        )

    @property
    def _staging(self) -> Path:
        return self.path(layout.TMP)

    def _note(self, rel: str, path: Path) -> Path:
        self.written.add(rel)
        return path

    def _read(self, rel: str, check: Any) -> str:
        try:
            text = self.path(rel).read_text(encoding="utf-8")
            check(text)
        except FileNotFoundError:
            raise self._missing(rel) from None
        except ValueError as error:
            raise self._damaged(rel, error) from error
        return text

    def _missing(self, rel: str) -> WorkspaceError:
        return WorkspaceError(
            f"{self.path(rel)} is missing.", why="The stage that writes it has not finished.", fix=_rerun(rel)
        )

    def _damaged(self, rel: str, error: Exception) -> WorkspaceError:
        return WorkspaceError(f"{self.path(rel)} is damaged.", why=str(error), fix=_rerun(rel, force=True))


def _rerun(rel: str, force: bool = False) -> str:
    top = rel.split("/")[0]
    verb = {"source": "preprocess", "track": "track", "avatars": "fit"}.get(top)
    flag = " --force" if force else ""
    return f"Run `headavatar {verb}{flag}`." if verb else "Run `headavatar status` to see what is there."

"""The folder on disk: layout, atomic writes, records, fingerprints, settings file, lock and discovery.

Only stages, the pipeline and the command line open a workspace; methods, head and ops take arrays and dataclasses.
"""

from headavatar.workspace.clips import load_camera, load_clip, load_head, load_params
from headavatar.workspace.store import Workspace

__all__ = ["Workspace", "load_camera", "load_clip", "load_head", "load_params"]

"""Parametric head models, ARKit names, skinning and the landmark embedding."""

from headavatar.head.model import GAZE_LIMITS_RAD, JOINT_LIMITS_RAD, JOINTS, HeadModel, LandmarkModel, load, to_world

__all__ = ["GAZE_LIMITS_RAD", "JOINTS", "JOINT_LIMITS_RAD", "HeadModel", "LandmarkModel", "load", "to_world"]

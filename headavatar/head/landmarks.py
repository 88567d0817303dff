"""Index lists into MediaPipe's 478 face landmarks. Left and right are the subject's."""

from __future__ import annotations

COUNT = 478

LIPS_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""Border of the lips' red, from the right corner over the lower lip to the left corner and back over the upper lip."""

LIPS_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
"""Where the lips meet, in the same order."""

LIPS = LIPS_OUTER + LIPS_INNER

EYE_RIGHT = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
"""Lid margin: outer corner, lower lid, inner corner, upper lid."""

EYE_LEFT = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)

EYES = EYE_RIGHT + EYE_LEFT

EYE_OUTER_CORNERS = (33, 263)

LIDS_RIGHT = ((159, 145), (158, 153), (160, 144))
"""Pairs of upper and lower points whose distance says how far the eye is open."""

LIDS_LEFT = ((386, 374), (385, 380), (387, 373))

BROW_RIGHT = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
BROW_LEFT = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)

OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""The face's outline, clockwise in a picture from the top of the forehead."""

IRIS_RIGHT = (468, 469, 470, 471, 472)
"""Center, then the limbus at the picture's right, top, left and bottom, for a frontal face."""

IRIS_LEFT = (473, 474, 475, 476, 477)

IRISES = IRIS_RIGHT + IRIS_LEFT

NOSE_TIP = 1
CHIN = 152

MEDIAPIPE_TO_68 = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
"""MediaPipe's counterpart of each of the 68 points that face-alignment and 300-W use."""

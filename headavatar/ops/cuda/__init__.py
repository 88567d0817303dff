"""Kernels on an NVIDIA card: our own in Triton, tinycudann's networks and pytorch3d's rasterizer where these import.

Nothing of the NeRF path waits for the card: whatever depends on how many samples rays have stays on it, in buffers as
large as the most that there can be. Rasterizing waits for how many faces there are to draw. Not yet run on a GPU:
values and gradients were checked in Triton's interpreter, and that the kernels compile for compute capability 8.0 and
9.0.
"""

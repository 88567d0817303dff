"""The kernels of the NeRF path on an NVIDIA card: our own in Triton, and tinycudann's networks where it imports.

Nothing in here waits for the card: whatever depends on how many samples rays have stays on it, in buffers as large as
the most that there can be. Not yet run on a GPU: values and gradients were checked in Triton's interpreter, and that
the kernels compile for compute capability 8.0 and 9.0.
"""

"""The C++ kernels and their ctypes bindings, wrapped in `torch.autograd.Function`."""

"""Neural head avatars: an explicit mesh and texture from one video (Grassal et al., CVPR 2022)."""

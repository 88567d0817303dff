"""NeRFBlendShape: a head as a hash-grid radiance field whose tables are blended by expression coefficients.

Source: Gao et al., "Reconstructing Personalized Semantic Facial NeRF Models From Monocular Video", SIGGRAPH Asia 2022.
"""

// A baked head's maps: how they are summed for a frame, and what color a pixel reads from them.
#pragma once

#include <algorithm>
#include <vector>

#include "common.h"

namespace ha {

// The arguments of ha_draw_baked; ops/native/baked.py says what they are.
struct BakedArgs {
  const float *vertices, *points, *uvs, *base, *factors, *light, *axes, *background, *cover;
  const int32_t *faces, *twins, *starts, *around, *uv_faces;
  const int16_t* texels;
  float *rgb, *alpha, *depth;
  i64 vertex_count, face_count, height, width, side, coarse_side, maps, light_side, lights;
  double near;
  float covered;
  int32_t cull, oriented;
};

constexpr i64 kRun = 64;  // pixels whose places are found together

// Texels around places on a square map: the first of four, and how far the places are from it.
struct Spots {
  int32_t column[kRun], row[kRun];
  float fx[kRun], fy[kRun];

  // Of up to kRun places; compiled once, so that who asks which texels will be read is told what will be.
  void find(const float* u, const float* v, i64 count, i64 side);
};

// What each of a fine map's columns, or rows, reads of a coarse map: kTaps texels from the first on, with weights of the
// column itself and of the next one. As torch's bilinear interpolation without aligned corners.
constexpr i64 kTaps = 3;

struct Refined {
  std::vector<int32_t> first;
  std::vector<float> weights;  // (side, 2, 4): own, next; the fourth is 0
  i64 taps;                    // kTaps, or the coarse map's side where it has fewer

  Refined(i64 side, i64 coarse);
};

// A row of pixels: the faces that they see or -1, where in them, and where on the maps.
struct SeenRow {
  const int32_t* image;
  const float *first, *second, *third, *u, *v;
  const float* normals;  // (V, 4) of the vertices, of any length, and shares of the cover; null where nothing asks
  float *rgb, *alpha;
};

// A texel's maps summed for one frame: texel (4, maps) -> blended (4,).
void blend_texel(const BakedArgs& args, const int16_t* texel, float* blended);

// A row's colors over the background and opacities, not clamped.
void shade_row(const BakedArgs& args, const Refined& refined, const float* blended, const SeenRow& row);

}  // namespace ha

// Real spherical harmonics of one direction; the same as ops/harmonics.py.
#pragma once

namespace ha {

// Writes bands * bands values, of 1 to 4 bands.
inline void harmonics(const float* direction, int bands, float* out) {
  const float x = direction[0], y = direction[1], z = direction[2];
  out[0] = 0.28209479177387814f;
  if (bands < 2) return;
  out[1] = -0.4886025119029199f * y;
  out[2] = 0.4886025119029199f * z;
  out[3] = -0.4886025119029199f * x;
  if (bands < 3) return;
  const float xx = x * x, yy = y * y, zz = z * z, xy = x * y, yz = y * z, xz = x * z;
  out[4] = 1.0925484305920792f * xy;
  out[5] = -1.0925484305920792f * yz;
  out[6] = 0.31539156525252005f * (2 * zz - xx - yy);
  out[7] = -1.0925484305920792f * xz;
  out[8] = 0.5462742152960396f * (xx - yy);
  if (bands < 4) return;
  out[9] = -0.5900435899266435f * y * (3 * xx - yy);
  out[10] = 2.890611442640554f * xy * z;
  out[11] = -0.4570457994644658f * y * (4 * zz - xx - yy);
  out[12] = 0.3731763325901154f * z * (2 * zz - 3 * xx - 3 * yy);
  out[13] = -0.4570457994644658f * x * (4 * zz - xx - yy);
  out[14] = 1.445305721320277f * z * (xx - yy);
  out[15] = -0.5900435899266435f * x * (xx - 3 * yy);
}

}  // namespace ha

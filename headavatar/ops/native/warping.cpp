// Grids of displacements: spreading what is known at points over all nodes, and reading a coarse grid at finer nodes.
// A node is four floats, x runs fastest. Frames are independent, so results do not depend on the number of threads.
#include <algorithm>
#include <vector>

#include "simd.h"

namespace ha {

namespace {

constexpr i64 kChannels = 4;

// Where the nodes of one axis lie between those of a coarser one.
struct Axis {
  std::vector<i64> first, second;
  std::vector<float> part;  // of the second

  explicit Axis(i64 nodes) : first(nodes), second(nodes), part(nodes) {}
};

// Cells of twice the edge, whose middles are a quarter of it away; beyond the outermost middle nothing changes.
Axis halved(i64 nodes, i64 coarse) {
  Axis axis(nodes);
  for (i64 i = 0; i < nodes; ++i) {
    const float at = std::max((float(i) + 0.5f) * 0.5f - 0.5f, 0.f);
    axis.first[i] = i64(at);
    axis.second[i] = std::min(axis.first[i] + 1, coarse - 1);
    axis.part[i] = at - float(axis.first[i]);
  }
  return axis;
}

// Node i of n lies at (i - 1/2) / (n - 2) of the cube, clamped to it.
Axis refined(i64 nodes, i64 coarse) {
  Axis axis(nodes);
  for (i64 i = 0; i < nodes; ++i) {
    const float share = std::min(std::max((float(i) - 0.5f) / float(nodes - 2), 0.f), 1.f);
    const float at = share * float(coarse - 2) + 0.5f;
    axis.first[i] = i64(at);
    axis.second[i] = axis.first[i] + 1;
    axis.part[i] = at - float(axis.first[i]);
  }
  return axis;
}

v4 node_at(const float* grid, i64 index) { return load<v4>(grid + kChannels * index); }

// Calls row(z, y, line) with the coarse grid read at each row of the finer one, as far as y and z go; the line has the
// coarse grid's nodes along x.
template <class Row>
void for_rows(const float* coarse, i64 old, i64 nodes, const Axis& axis, Row row) {
  std::vector<float> line(kChannels * old);
  for (i64 z = 0; z < nodes; ++z)
    for (i64 y = 0; y < nodes; ++y) {
      const float wz = axis.part[z], wy = axis.part[y];
      const i64 corner[4] = {old * (axis.first[y] + old * axis.first[z]), old * (axis.second[y] + old * axis.first[z]),
                             old * (axis.first[y] + old * axis.second[z]),
                             old * (axis.second[y] + old * axis.second[z])};
      const float weight[4] = {(1 - wz) * (1 - wy), (1 - wz) * wy, wz * (1 - wy), wz * wy};
      for (i64 x = 0; x < old; ++x) {
        v4 sum = {};
        for (int k = 0; k < 4; ++k) sum += weight[k] * node_at(coarse, corner[k] + x);
        store(&line[kChannels * x], sum);
      }
      row(z, y, line.data());
    }
}

// Sums of displacements and of weights, in place, become means; where weights are small, coarser means answer.
void pull(float* grid, i64 nodes, float prior) {
  if (nodes <= 3) {
    v4 total = {};
    for (i64 i = 0; i < nodes * nodes * nodes; ++i) total += node_at(grid, i);
    total /= std::max(total[3], 1e-9f);
    total[3] = 0.f;
    for (i64 i = 0; i < nodes * nodes * nodes; ++i) store(grid + kChannels * i, total);
    return;
  }
  const i64 half = ceil_div(nodes, 2);
  std::vector<float> coarse(kChannels * half * half * half, 0.f);
  for (i64 z = 0; z < nodes; ++z)
    for (i64 y = 0; y < nodes; ++y) {
      const float* row = grid + kChannels * nodes * (y + nodes * z);
      float* into = &coarse[kChannels * half * (y / 2 + half * (z / 2))];
      for (i64 x = 0; x < nodes; ++x)
        store(into + kChannels * (x / 2), node_at(into, x / 2) + node_at(row, x));
    }
  pull(coarse.data(), half, prior);
  const Axis axis = halved(nodes, half);
  for_rows(coarse.data(), half, nodes, axis, [&](i64 z, i64 y, const float* line) {
    float* row = grid + kChannels * nodes * (y + nodes * z);
    for (i64 x = 0; x < nodes; ++x) {
      const v4 finer = (1 - axis.part[x]) * node_at(line, axis.first[x]) + axis.part[x] * node_at(line, axis.second[x]);
      v4 sum = node_at(row, x);
      const float scale = 1.f / (sum[3] + prior);
      sum = (sum + prior * finer) * scale;
      sum[3] = 0.f;
      store(row + kChannels * x, sum);
    }
  });
}

}  // namespace

// points and values (B, M, 3); grids (B, nodes^3, 4).
HA_API void ha_spread(const float* points, const float* values, i64 frames, i64 count, i64 nodes, double prior,
                      float* grids) {
#pragma omp parallel for schedule(dynamic, 1)
  for (i64 b = 0; b < frames; ++b) {
    float* grid = grids + b * kChannels * nodes * nodes * nodes;
    std::fill_n(grid, kChannels * nodes * nodes * nodes, 0.f);
    for (i64 m = b * count; m < (b + 1) * count; ++m) {
      i64 cell[3];
      float part[3];
      for (int d = 0; d < 3; ++d) {
        const float x = points[3 * m + d];
        const float at = (x > 0.f ? std::min(x, 1.f) : 0.f) * float(nodes - 2) + 0.5f;
        cell[d] = i64(at);
        part[d] = at - float(cell[d]);
      }
      const v4 value = {values[3 * m], values[3 * m + 1], values[3 * m + 2], 1.f};
      float* corner = grid + kChannels * (cell[0] + nodes * (cell[1] + nodes * cell[2]));
      for (int k = 0; k < 8; ++k) {
        const float weight = (k & 1 ? part[0] : 1 - part[0]) * (k & 2 ? part[1] : 1 - part[1]) *
                             (k & 4 ? part[2] : 1 - part[2]);
        float* node = corner + kChannels * ((k & 1) + nodes * ((k >> 1 & 1) + nodes * (k >> 2)));
        store(node, load<v4>(node) + weight * value);
      }
    }
    pull(grid, nodes, float(prior));
  }
}

// coarse (B, old^3, 4) read at the nodes of fine (B, nodes^3, 4).
HA_API void ha_refine(const float* coarse, i64 frames, i64 old, i64 nodes, float* fine) {
  const Axis axis = refined(nodes, old);
#pragma omp parallel for schedule(dynamic, 1)
  for (i64 b = 0; b < frames; ++b)
    for_rows(coarse + b * kChannels * old * old * old, old, nodes, axis, [&](i64 z, i64 y, const float* line) {
      float* row = fine + kChannels * nodes * (y + nodes * (z + nodes * b));
      for (i64 x = 0; x < nodes; ++x)
        store(row + kChannels * x,
              (1 - axis.part[x]) * node_at(line, axis.first[x]) + axis.part[x] * node_at(line, axis.second[x]));
    });
}

// The gradient of coarse from that of fine.
HA_API void ha_refine_backward(const float* grad_fine, i64 frames, i64 old, i64 nodes, float* grad_coarse) {
  const Axis axis = refined(nodes, old);
#pragma omp parallel for schedule(dynamic, 1)
  for (i64 b = 0; b < frames; ++b) {
    float* grad = grad_coarse + b * kChannels * old * old * old;
    std::fill_n(grad, kChannels * old * old * old, 0.f);
    std::vector<float> line(kChannels * old);
    for (i64 z = 0; z < nodes; ++z)
      for (i64 y = 0; y < nodes; ++y) {
        const float* row = grad_fine + kChannels * nodes * (y + nodes * (z + nodes * b));
        std::fill(line.begin(), line.end(), 0.f);
        for (i64 x = 0; x < nodes; ++x) {
          float *first = &line[kChannels * axis.first[x]], *second = &line[kChannels * axis.second[x]];
          store(first, load<v4>(first) + (1 - axis.part[x]) * node_at(row, x));
          store(second, load<v4>(second) + axis.part[x] * node_at(row, x));
        }
        for (int k = 0; k < 4; ++k) {
          const i64 cy = k & 1 ? axis.second[y] : axis.first[y], cz = k & 2 ? axis.second[z] : axis.first[z];
          const float weight = (k & 1 ? axis.part[y] : 1 - axis.part[y]) * (k & 2 ? axis.part[z] : 1 - axis.part[z]);
          float* into = grad + kChannels * old * (cy + old * cz);
          for (i64 x = 0; x < old; ++x)
            store(into + kChannels * x, node_at(into, x) + weight * node_at(line.data(), x));
        }
      }
  }
}

}  // namespace ha

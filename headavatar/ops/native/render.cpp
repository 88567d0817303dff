// render_rays: from rays to colors in one call. A thread takes a block of rays and asks the field for a few samples of
// each at a time, front to back, so that nothing but the block's own tiles is ever stored and opaque rays end early.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "grid.h"
#include "harmonics.h"
#include "nets.h"
#include "rays.h"
#include "rounds.h"

namespace ha {

// One frame's field, rays and pictures.
struct RenderArgs {
  RayArgs rays;
  GridArgs grid;             // x, encoded, gradients and frame_offsets unused
  NetArgs sigma_net, color_net;
  float density_shift, density_scale;
  float stop;
  i64 bands;                 // of the spherical harmonics that the color network is given
  const float* warp;         // (warp_nodes^3, 4) displacements of positions, or null
  i64 warp_nodes;
  i64 columns;               // of the picture whose rows the rays are; 0: no picture
  float agreement;           // a pixel whose neighbors differ by no more may lie between them; 0: none does
  float *rgb, *alpha, *depth;  // (R, 3), (R,), (R,)
};

namespace {

typedef float v8 __attribute__((vector_size(32)));

constexpr i64 kBlock = 2304;  // rays that a thread takes at once: many, or the last tile of each wave is half empty
constexpr i64 kWave = 2;     // samples of a ray that are asked for at once,
constexpr float kLast = 0.3f;  // and one where less light than this is left: it may be the last
constexpr i64 kChunk = 16;   // tiles that go through a level of the grid together, while its table stays in the cache

struct Walker {
  i64 ray;
  i64 slot;  // in the block, where its pieces and features lie
  Probed probed;
  i64 next = 0;
  float transmittance = 1;
};

class Renderer {
 public:
  Renderer(const RenderArgs& args, const Occupied& occupied, const Net& sigma_net, const Net& color_net)
      : a_(args),
        occupied_(occupied),
        sigma_(sigma_net),
        color_(color_net),
        encoded_rows_(padded(args.grid.levels * args.grid.features)),
        width_(args.bands * args.bands),
        view_rows_(padded(args.color_net.sizes[1])),
        pieces_(kBlock * args.rays.probes),
        views_(kBlock * view_rows_),
        view_tile_((16 + view_rows_) * kTile),
        soa_(kChunk * 3 * kTile),
        encoded_(kChunk * encoded_rows_ * kTile),
        activations_((sigma_net.row_count + color_net.row_count) * kTile) {
    const i64 inputs = args.color_net.sizes[0];
    pack(args.color_net.weights[0] + color_net.own_inputs, args.color_net.sizes[1], width_, inputs, 1, view_weights_);
  }

  void block(const int32_t* rays, i64 count) {
    std::vector<Walker>& walkers = walkers_;
    walkers.clear();
    for (i64 k = 0; k < count; ++k) {
      const i64 r = rays[k], slot = i64(walkers.size());
      const Walker walker{r, slot, probe_ray(a_.rays, occupied_, r, &pieces_[slot * a_.rays.probes])};
      std::fill_n(a_.rgb + 3 * r, 3, 0.f);
      a_.alpha[r] = a_.depth[r] = 0.f;
      if (walker.probed.count) walkers.push_back(walker);
    }
    for (size_t start = 0; start < walkers.size(); start += kTile) views(start);
    while (!walkers.empty()) {
      for (size_t start = 0; start < walkers.size();) start = wave(start);
      walkers.erase(std::remove_if(walkers.begin(), walkers.end(), [&](const Walker& w) { return ended(w); }),
                    walkers.end());
    }
  }

 private:
  // Whether a ray is through. What little light is left of an opaque one is taken to look like what was seen.
  bool ended(const Walker& w) const {
    if (w.transmittance < a_.stop) {
      const float scale = 1.f / (1.f - w.transmittance);
      for (int c = 0; c < 3; ++c) a_.rgb[3 * w.ray + c] *= scale;
      a_.alpha[w.ray] = 1.f;
      a_.depth[w.ray] *= scale;
      return true;
    }
    return w.next == w.probed.count;
  }

  // What a tile's rays themselves give to the color network's first layer: once for all of their samples.
  void views(size_t start) {
    float *features = view_tile_.data(), *sums = features + 16 * kTile;
    const i64 count = std::min(kTile, i64(walkers_.size() - start));
    for (i64 n = 0; n < kTile; ++n) {
      float values[16] = {};
      if (n < count) harmonics(a_.rays.directions + 3 * walkers_[start + n].ray, int(a_.bands), values);
      for (i64 d = 0; d < width_; ++d) features[d * kTile + n] = values[d];
    }
    multiply(view_weights_, features, sums, a_.color_net.sizes[1], width_, Keep());
    for (i64 n = 0; n < count; ++n)
      for (i64 r = 0; r < view_rows_; ++r) views_[(start + n) * view_rows_ + r] = sums[r * kTile + n];
  }

  // The next samples of walkers from `start` on, as many as a chunk of tiles holds; returns the first that had to wait.
  size_t wave(size_t start) {
    i64 count = 0;
    size_t stop = start;
    for (; stop < walkers_.size(); ++stop) {
      const i64 samples = samples_of(walkers_[stop]);
      if (count + samples > kChunk * kTile) break;
      place(walkers_[stop], samples, count);
      count += samples;
    }
    const i64 tiles = ceil_div(count, kTile);
    for (i64 n = count; n < tiles * kTile; ++n) {
      deltas_[n] = 0.f;
      for (int d = 0; d < 3; ++d) soa_[(n / kTile * 3 + d) * kTile + n % kTile] = 0.f;
    }
    with_features(a_.grid.features, [&](auto f) {
      for (int level = 0; level < a_.grid.levels; ++level)
        for (i64 t = 0; t < tiles; ++t)
          encode_level<decltype(f)::value>(a_.grid, a_.grid.table, level, &soa_[t * 3 * kTile],
                                           &encoded_[t * encoded_rows_ * kTile]);
    });
    i64 done = 0;
    for (size_t w = start; w < stop; ++w) owner_.insert(owner_.end(), size_t(samples_of(walkers_[w])), w);
    for (i64 t = 0; t < tiles; ++t) {
      const i64 filled = std::min(kTile, count - t * kTile);
      networks(&encoded_[t * encoded_rows_ * kTile], owner_.data() + done, filled);
      composite(owner_.data() + done, done, filled);
      done += filled;
    }
    owner_.clear();
    return stop;
  }

  i64 samples_of(const Walker& w) const {
    return std::min(w.transmittance < kLast ? 1 : kWave, w.probed.count - w.next);
  }

  // Positions of a walker's next samples: the middles of equal shares of its occupied pieces.
  void place(const Walker& w, i64 samples, i64 at) {
    const float *origin = a_.rays.origins + 3 * w.ray, *direction = a_.rays.directions + 3 * w.ray;
    const int16_t* pieces = &pieces_[w.slot * a_.rays.probes];
    const float share = float(w.probed.filled) / float(w.probed.count);
    for (i64 k = 0; k < samples; ++k, ++at) {
      const float along = (float(w.next + k) + 0.5f) * share;
      const i64 which = std::min<i64>(i64(along), w.probed.filled - 1);
      const float t = w.probed.near + (float(pieces[which]) + (along - float(which))) * w.probed.piece;
      distances_[at] = t;
      deltas_[at] = share * w.probed.piece;
      float x[3];
      for (int d = 0; d < 3; ++d)
        x[d] = clamp01((origin[d] + t * direction[d] - a_.rays.low[d]) / (a_.rays.high[d] - a_.rays.low[d]));
      if (a_.warp) move(x);
      for (int d = 0; d < 3; ++d) soa_[(at / kTile * 3 + d) * kTile + at % kTile] = x[d];
    }
  }

  static float clamp01(float x) { return x > 0.f ? std::min(x, 1.f) : 0.f; }

  // Adds the displacement that the warp's grid holds at a point.
  void move(float* x) const {
    const i64 nodes = a_.warp_nodes;
    i64 cell[3];
    float part[3];
    for (int d = 0; d < 3; ++d) {
      const float at = x[d] * float(nodes - 2) + 0.5f;
      cell[d] = i64(at);
      part[d] = at - float(cell[d]);
    }
    const float* corner = a_.warp + 4 * (cell[0] + nodes * (cell[1] + nodes * cell[2]));
    v8 pair = {};  // of nodes that are neighbors along x
    for (int z = 0; z < 2; ++z)
      for (int y = 0; y < 2; ++y) {
        const float side = (z ? part[2] : 1.f - part[2]) * (y ? part[1] : 1.f - part[1]);
        pair += side * load<v8>(corner + 4 * nodes * (y + nodes * z));
      }
    float both[8];
    store(both, pair);
    const v4 sum = load<v4>(both) + part[0] * (load<v4>(both + 4) - load<v4>(both));
    for (int d = 0; d < 3; ++d) x[d] = clamp01(x[d] + sum[d]);
  }

  // Densities and colors of a tile's points.
  void networks(const float* encoded, const size_t* owner, i64 filled) {
    float* sigma_rows = activations_.data();
    float* color_rows = sigma_rows + sigma_.row_count * kTile;
    sigma_.run(encoded, sigma_rows);
    float* raw = sigma_.output(sigma_rows);
    float* sums = view_tile_.data() + 16 * kTile;
    collect_rows([&](i64 n) { return &views_[walkers_[owner[n < filled ? n : 0]].slot * view_rows_]; }, view_rows_, sums);
    color_.run_from(raw + kTile, color_rows, From{sums});
    const float* rgb = color_.output(color_rows);
    for (i64 n = 0; n < kTile; n += W) {
      store(density_ + n, a_.density_scale * vsoftplus(loadf(raw + n) + a_.density_shift));
      for (int c = 0; c < 3; ++c) store(colors_ + c * kTile + n, vsigmoid(loadf(rgb + c * kTile + n)));
    }
  }

  void composite(const size_t* owner, i64 first, i64 filled) {
    for (i64 n = 0; n < kTile; n += W)
      store(opacity_ + n, 1.0f - vexp(-(loadf(density_ + n) * loadf(deltas_ + first + n))));
    for (i64 n = 0; n < filled; ++n) {
      Walker& w = walkers_[owner[n]];
      ++w.next;
      if (w.transmittance < a_.stop) continue;
      const float weight = w.transmittance * opacity_[n];
      for (int c = 0; c < 3; ++c) a_.rgb[3 * w.ray + c] += weight * colors_[c * kTile + n];
      a_.alpha[w.ray] += weight;
      a_.depth[w.ray] += weight * distances_[first + n];
      w.transmittance *= 1.f - opacity_[n];
    }
  }

  const RenderArgs& a_;
  const Occupied& occupied_;
  const Net &sigma_, &color_;
  const i64 encoded_rows_, width_, view_rows_;
  std::vector<int16_t> pieces_;
  std::vector<float> views_, view_tile_, soa_, encoded_, activations_;
  Matrix view_weights_;
  std::vector<Walker> walkers_;
  std::vector<size_t> owner_;
  alignas(64) float distances_[kChunk * kTile], deltas_[kChunk * kTile];
  alignas(64) float density_[kTile], opacity_[kTile], colors_[3 * kTile];
};

}  // namespace

HA_API void ha_render(const RenderArgs* args) {
  const RenderArgs& a = *args;
  const i64 width = a.bands * a.bands;
  const Net sigma_net(a.sigma_net, false), color_net(a.color_net, false, 0, width);
  const Occupied occupied(a.rays);
  const bool rounds = a.columns > 2 && a.agreement > 0;
  const Picture picture{a.columns, rounds ? a.rays.rays / a.columns : 0, a.agreement, a.rgb, a.alpha, a.depth};
  std::vector<int32_t> rays;
  for (int round = 0; round < (rounds ? 3 : 1); ++round) {
    if (rounds) {
      rays_of(picture, round, rays);
    } else {
      rays.resize(a.rays.rays);
      std::iota(rays.begin(), rays.end(), 0);
    }
    const i64 count = i64(rays.size());
#pragma omp parallel
    {
      const MatrixUnit unit;
      Renderer renderer(a, occupied, sigma_net, color_net);
#pragma omp for schedule(dynamic, 1)
      for (i64 first = 0; first < count; first += kBlock)
        renderer.block(&rays[first], std::min(kBlock, count - first));
    }
  }
}

}  // namespace ha

// fused_mlp and nerf_field: forward and backward. What forward leaves in `saved` backward reads, tile after tile.
#include "grid.h"
#include "nets.h"
#include "positions.h"

namespace ha {

HA_API void ha_mlp_forward(const MlpArgs* args) {
  const MlpArgs& a = *args;
  const Net net(a.net, false);
  const i64 inputs = a.net.sizes[0], outputs = a.net.sizes[a.net.layers], in_rows = padded(inputs);
  const i64 tile_size = (in_rows + net.row_count) * kTile;
#pragma omp parallel
  {
    const MatrixUnit unit;
    std::vector<float> own(a.saved ? 0 : tile_size);
#pragma omp for schedule(static)
    for (i64 t = 0; t < ceil_div(a.points, kTile); ++t) {
      const i64 start = t * kTile, count = std::min(kTile, a.points - start);
      float* in = a.saved ? a.saved + t * tile_size : own.data();
      float* tile = in + in_rows * kTile;
      for (i64 i = 0; i < inputs; ++i)
        for (i64 n = 0; n < kTile; ++n) in[i * kTile + n] = n < count ? a.x[(start + n) * inputs + i] : 0.f;
      net.run(in, tile);
      const float* out = net.output(tile);
      for (i64 n = 0; n < count; ++n)
        for (i64 o = 0; o < outputs; ++o) a.y[(start + n) * outputs + o] = out[o * kTile + n];
    }
  }
}

HA_API void ha_mlp_backward(const MlpArgs* args) {
  const MlpArgs& a = *args;
  const Net net(a.net, true);
  const i64 inputs = a.net.sizes[0], outputs = a.net.sizes[a.net.layers], in_rows = padded(inputs);
  const i64 tile_size = (in_rows + net.row_count) * kTile, tiles = ceil_div(a.points, kTile);
  const i64 pieces = piece_count(tiles);
  std::vector<float> sums(pieces * net.grad_size, 0.f);
#pragma omp parallel
  {
    const MatrixUnit unit;
    std::vector<float> grad(net.widest * kTile), scratch(net.widest * kTile), columns(net.widest * kTile);
    std::vector<float> grad_in(in_rows * kTile);
#pragma omp for schedule(dynamic, 1)
    for (i64 piece = 0; piece < pieces; ++piece)
      for (i64 t = piece * tiles / pieces; t < (piece + 1) * tiles / pieces; ++t) {
        const i64 start = t * kTile, count = std::min(kTile, a.points - start);
        const float* in = a.saved + t * tile_size;
        for (i64 o = 0; o < padded(outputs); ++o)
          for (i64 n = 0; n < kTile; ++n)
            grad[o * kTile + n] = o < outputs && n < count ? a.y[(start + n) * outputs + o] : 0.f;
        net.run_backward(in, in + in_rows * kTile, grad.data(), scratch.data(), columns.data(),
                         sums.data() + piece * net.grad_size, a.grad_x ? grad_in.data() : nullptr, inputs);
        if (!a.grad_x) continue;
        for (i64 n = 0; n < count; ++n)
          for (i64 i = 0; i < inputs; ++i) a.grad_x[(start + n) * inputs + i] = grad_in[i * kTile + n];
      }
  }
  for (i64 piece = 0; piece < pieces; ++piece) net.collect(&sums[piece * net.grad_size], piece == 0);
}

namespace {

// Rows of a field's tile: the encoded points, the density network, the color network, whose input are the density
// network's outputs but the first, and right behind them the rays' features.
struct Layout {
  i64 encoded_rows, sigma_rows, color_rows, geometry;

  Layout(const FieldArgs& a, const Net& sigma_net, const Net& color_net)
      : encoded_rows(padded(a.grid.levels * a.grid.features)),
        sigma_rows(sigma_net.row_count),
        color_rows(color_net.row_count),
        geometry(a.sigma_net.sizes[a.sigma_net.layers] - 1) {}

  i64 size() const { return (encoded_rows + sigma_rows + color_rows) * kTile; }
  float* sigma(float* tile) const { return tile + encoded_rows * kTile; }
  float* color(float* tile) const { return tile + (encoded_rows + sigma_rows) * kTile; }
};

void run_networks(const FieldArgs& a, const Layout& layout, const Net& sigma_net, const Net& color_net,
                  const Tile& where, float* tile) {
  sigma_net.run(tile, layout.sigma(tile));
  float* raw = sigma_net.output(layout.sigma(tile));
  float* features = raw + (1 + layout.geometry) * kTile;
  for (i64 n = 0; n < kTile; ++n) {
    const i64 at = where.start + (n < where.count ? n : 0);
    const float* ray = a.ray_features + i64(a.ray_index[at]) * a.ray_width;
    for (i64 d = 0; d < a.ray_width; ++d) features[d * kTile + n] = ray[d];
  }
  color_net.run(raw + kTile, layout.color(tile));
  float* rgb = color_net.output(layout.color(tile));
  alignas(64) float sigma[kTile];
  for (i64 n = 0; n < kTile; n += W) {
    store(sigma + n, a.density_scale * vsoftplus(loadf(raw + n) + a.density_shift));
    for (int c = 0; c < 3; ++c) store(rgb + c * kTile + n, vsigmoid(loadf(rgb + c * kTile + n)));
  }
  for (i64 n = 0; n < where.count; ++n) {
    a.sigma[where.start + n] = sigma[n];
    for (int c = 0; c < 3; ++c) a.rgb[3 * (where.start + n) + c] = rgb[c * kTile + n];
  }
}

}  // namespace

HA_API void ha_field_forward(const FieldArgs* args) {
  const FieldArgs& a = *args;
  const Net sigma_net(a.sigma_net, false, a.ray_width), color_net(a.color_net, false);
  const Layout layout(a, sigma_net, color_net);
  const GridArgs& grid = a.grid;
  const std::vector<Tile> tiles = cut_tiles(grid.frame_offsets, grid.frames);
  const i64 count = i64(tiles.size()), size = grid.offsets[grid.levels] * grid.features;
  const i64 chunk_size = chunk_of(count);
#pragma omp parallel
  {
    const MatrixUnit unit;
    std::vector<float> soa(chunk_size * 3 * kTile), own(a.saved ? 0 : chunk_size * layout.size());
#pragma omp for schedule(dynamic, 1)
    for (i64 chunk = 0; chunk < ceil_div(count, chunk_size); ++chunk) {
      const i64 first = chunk * chunk_size, last = std::min(count, first + chunk_size);
      float* base = a.saved ? a.saved + first * layout.size() : own.data();
      for (i64 t = first; t < last; ++t) load_points(grid.x, tiles[t], &soa[(t - first) * 3 * kTile]);
      with_features(grid.features, [&](auto f) {
        for (int level = 0; level < grid.levels; ++level)
          for (i64 t = first; t < last; ++t)
            encode_level<decltype(f)::value>(grid, grid.table + tiles[t].frame * size, level,
                                             &soa[(t - first) * 3 * kTile], base + (t - first) * layout.size());
      });
      for (i64 t = first; t < last; ++t)
        run_networks(a, layout, sigma_net, color_net, tiles[t], base + (t - first) * layout.size());
    }
  }
}

HA_API void ha_field_backward(const FieldArgs* args) {
  const FieldArgs& a = *args;
  const Net sigma_net(a.sigma_net, true, a.ray_width), color_net(a.color_net, true);
  const Layout layout(a, sigma_net, color_net);
  const std::vector<Tile> tiles = cut_tiles(a.grid.frame_offsets, a.grid.frames);
  const i64 count = i64(tiles.size()), pieces = piece_count(count);
  const i64 encoded = a.grid.levels * a.grid.features, sums_size = sigma_net.grad_size + color_net.grad_size;
  const i64 table_size = a.grid.offsets[a.grid.levels] * a.grid.features;
  const i64 widest = std::max({sigma_net.widest, color_net.widest, padded(encoded)});
  const bool with_weights = a.sigma_net.grads != nullptr;
  std::vector<float> sums(with_weights ? pieces * sums_size : 0, 0.f);
#pragma omp parallel
  {
    const MatrixUnit unit;
    std::vector<float> grad(widest * kTile), scratch(widest * kTile), columns(widest * kTile);
    std::vector<float> grad_raw((padded(1 + layout.geometry) + kRowBlock) * kTile), grad_encoded(padded(encoded) * kTile);
#pragma omp for schedule(dynamic, 1)
    for (i64 piece = 0; piece < pieces; ++piece) {
      float* sigma_sums = with_weights ? sums.data() + piece * sums_size : nullptr;
      float* color_sums = with_weights ? sigma_sums + sigma_net.grad_size : nullptr;
      for (i64 t = piece * count / pieces; t < (piece + 1) * count / pieces; ++t) {
        const Tile& where = tiles[t];
        float* tile = a.saved + t * layout.size();
        float* raw = sigma_net.output(layout.sigma(tile));
        const float* rgb = color_net.output(layout.color(tile));
        alignas(64) float grad_sigma[kTile] = {};
        std::fill(grad.begin(), grad.begin() + padded(3) * kTile, 0.f);
        for (i64 n = 0; n < where.count; ++n) {
          grad_sigma[n] = a.grad_sigma[where.start + n];
          for (int c = 0; c < 3; ++c) {
            const float value = rgb[c * kTile + n];
            grad[c * kTile + n] = a.grad_rgb[3 * (where.start + n) + c] * value * (1.f - value);
          }
        }
        color_net.run_backward(raw + kTile, layout.color(tile), grad.data(), scratch.data(), columns.data(), color_sums,
                               layout.geometry ? grad_raw.data() + kTile : nullptr, layout.geometry);
        for (i64 n = 0; n < kTile; n += W)
          store(grad_raw.data() + n,
                a.density_scale * loadf(grad_sigma + n) * vsigmoid(loadf(raw + n) + a.density_shift));
        std::fill(grad_raw.begin() + (1 + layout.geometry) * kTile, grad_raw.end(), 0.f);
        std::copy(grad_raw.begin(), grad_raw.begin() + padded(1 + layout.geometry) * kTile, grad.begin());
        sigma_net.run_backward(tile, layout.sigma(tile), grad.data(), scratch.data(), columns.data(), sigma_sums,
                               grad_encoded.data(), encoded);
        if (a.grad_tiles)
          std::copy(grad_encoded.begin(), grad_encoded.begin() + encoded * kTile, a.grad_tiles + t * encoded * kTile);
        if (!a.grid.grad_x) continue;
        alignas(64) float soa[3 * kTile];
        load_points(a.grid.x, where, soa);
        with_features(a.grid.features, [&](auto f) {
          position_gradient<decltype(f)::value>(a.grid, a.grid.table + where.frame * table_size, where, soa,
                                                grad_encoded.data());
        });
      }
    }
  }
  for (i64 piece = 0; with_weights && piece < pieces; ++piece) {
    sigma_net.collect(&sums[piece * sums_size], piece == 0);
    color_net.collect(&sums[piece * sums_size] + sigma_net.grad_size, piece == 0);
  }
  if (a.grad_tiles) scatter(a.grid, tiles, a.grad_tiles);
}

}  // namespace ha

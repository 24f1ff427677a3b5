#include "bench/gpu/model.h"

#include <algorithm>
#include <vector>

#include "bench/clients/clients.h"

namespace kvpool::bench {
namespace {

std::vector<Model> MakeModels() {
  std::vector<Model> models;
  for (const Geometry& geometry : ClientGeometries()) {
    Model model{.geometry = geometry, .query_width = 4096, .full_layers = geometry.layers};
    model.active_parameters = 8.0e9;
    if (geometry.name == "Qwen3-30B-A3B") model.active_parameters = 3.3e9;
    if (geometry.name == "GPT-OSS-20B") {
      model.active_parameters = 3.6e9;
      model.full_layers = geometry.layers / 2;
      model.window = 128;
    }
    models.push_back(model);
  }
  return models;
}

// The sum of what each of the new tokens attends to.
double Attended(double before, double tokens) {
  return tokens * before + tokens * (tokens + 1) / 2;
}

}  // namespace

std::span<const Model> Models() {
  static const std::vector<Model> models = MakeModels();
  return models;
}

double FlopsFor(const Model& model, std::uint64_t before, std::uint64_t tokens) {
  const auto more = static_cast<double>(tokens);
  const double full = Attended(static_cast<double>(before), more);
  const double windowed = std::min(full, more * model.window);
  const double windowed_layers = model.geometry.layers - model.full_layers;
  return 2 * model.active_parameters * more +
         4.0 * model.query_width * (model.full_layers * full + windowed_layers * windowed);
}

}  // namespace kvpool::bench

#include "tests/sim/sim_catalog.h"

#include <algorithm>

namespace kvpool::sim {
namespace {

using catalog::BlockRow;
using catalog::Catalog;
using catalog::Change;

class MemoryCatalog final : public Catalog {
 public:
  explicit MemoryCatalog(CatalogState& state) : state_(state) {}

  Result<std::uint32_t> SpaceId(const SpaceSpec& spec) override {
    for (const auto& [id, known] : state_.spaces) {
      if (known.model == spec.model && known.rank == spec.rank && known.layers == spec.layers) {
        return id;
      }
    }
    std::uint32_t id = 1;
    while (std::any_of(state_.spaces.begin(), state_.spaces.end(),
                       [&](const auto& known) { return known.first == id; })) {
      ++id;
    }
    state_.spaces.emplace_back(id, spec);
    return id;
  }
  Result<void> Forget(std::span<const std::uint32_t> spaces) override {
    std::erase_if(state_.spaces, [&](const auto& known) {
      return std::find(spaces.begin(), spaces.end(), known.first) != spaces.end();
    });
    return {};
  }
  Result<std::vector<std::pair<std::uint32_t, SpaceSpec>>> Spaces() override {
    return state_.spaces;
  }
  Result<std::uint64_t> HighestGeneration() override { return state_.highest_generation; }
  Result<std::uint64_t> Load(const std::function<void(BlockRow&&)>& visit) override {
    for (auto row = state_.rows.rbegin(); row != state_.rows.rend(); ++row) {
      visit(BlockRow(row->second));
    }
    return 0;
  }
  Result<void> Apply(std::span<const Change> changes) override {
    for (const Change& change : changes) {
      const std::uint64_t generation = change.row.generation;
      state_.highest_generation = std::max(state_.highest_generation, generation);
      if (change.kind == Change::Kind::kRemove) {
        state_.rows.erase(generation);
      } else {
        state_.rows.insert_or_assign(generation, change.row);
      }
    }
    return {};
  }

 private:
  CatalogState& state_;
};

class SimCatalog final : public Catalog {
 public:
  SimCatalog(World& world, std::unique_ptr<Catalog> inner, double error)
      : world_(world), inner_(std::move(inner)), error_(error) {}

  Result<std::uint32_t> SpaceId(const SpaceSpec& spec) override { return inner_->SpaceId(spec); }
  Result<void> Forget(std::span<const std::uint32_t> spaces) override {
    return world_.crashed() ? Result<void>{} : inner_->Forget(spaces);
  }
  Result<std::vector<std::pair<std::uint32_t, SpaceSpec>>> Spaces() override {
    return inner_->Spaces();
  }
  Result<std::uint64_t> HighestGeneration() override { return inner_->HighestGeneration(); }
  Result<std::uint64_t> Load(const std::function<void(BlockRow&&)>& visit) override {
    return inner_->Load(visit);
  }
  Result<void> Apply(std::span<const Change> changes) override {
    world_.Event();
    // A dead process is told nothing: who asks is only being cleared away.
    if (world_.crashed()) return {};
    world_.Note("catalog: {} changes", changes.size());
    if (world_.random.Chance(error_)) {
      world_.Note("catalog: fails");
      return Fail(Status::kIoError, "the simulated catalog fails: nothing needs to be done");
    }
    auto applied = inner_->Apply(changes);
    world_.Event();
    return applied;
  }

 private:
  World& world_;
  std::unique_ptr<Catalog> inner_;
  const double error_;
};

}  // namespace

std::unique_ptr<Catalog> MakeMemoryCatalog(CatalogState& state) {
  return std::make_unique<MemoryCatalog>(state);
}

std::unique_ptr<Catalog> MakeSimCatalog(World& world, std::unique_ptr<Catalog> inner,
                                        double error) {
  return std::make_unique<SimCatalog>(world, std::move(inner), error);
}

}  // namespace kvpool::sim

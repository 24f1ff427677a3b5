// Holding: a contender on something that is there for its sake and goes after it: a mounted
// filesystem, a loop device, drives in user space.
#pragma once

#include <memory>
#include <utility>

#include "bench/compare/contender.h"

namespace kvpool::bench {

template <class Held>
class Holding final : public Contender {
 public:
  Holding(Held held, std::unique_ptr<Contender> inner)
      : held_(std::move(held)), inner_(std::move(inner)) {}

  Result<std::optional<Sample>> Store(const Content& content) override {
    return inner_->Store(content);
  }
  void DropCaches() override { inner_->DropCaches(); }
  Result<Sample> Retrieve(std::uint64_t blocks, std::span<std::byte> into) override {
    return inner_->Retrieve(blocks, into);
  }
  Result<std::optional<double>> LayerRatio(std::uint64_t blocks,
                                           std::span<std::byte> into) override {
    return inner_->LayerRatio(blocks, into);
  }
  bool delivers() const override { return inner_->delivers(); }
  std::vector<std::uint64_t> BytesRead() const override { return inner_->BytesRead(); }
  std::string note() const override { return inner_->note(); }

 private:
  const Held held_;  // outlives what uses it
  const std::unique_ptr<Contender> inner_;
};

template <class Held>
std::unique_ptr<Contender> Hold(Held held, std::unique_ptr<Contender> inner) {
  return std::make_unique<Holding<Held>>(std::move(held), std::move(inner));
}

}  // namespace kvpool::bench

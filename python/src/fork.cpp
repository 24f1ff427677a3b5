#include "python/src/fork.h"

#include <pthread.h>

#include <atomic>

namespace kvpool::python {
namespace {

std::atomic<std::uint64_t> generation{0};
void (*reset_in_child)() = nullptr;

void Child() {
  generation.fetch_add(1, std::memory_order_relaxed);
  if (reset_in_child != nullptr) reset_in_child();
}

}  // namespace

std::uint64_t ForkGeneration() { return generation.load(std::memory_order_relaxed); }

void InEveryChild(void (*reset)()) {
  reset_in_child = reset;
  pthread_atfork(nullptr, nullptr, Child);
}

}  // namespace kvpool::python

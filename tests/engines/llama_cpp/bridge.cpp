// The C++ store for the engine's test, which has its context in Python: over the same context as
// Python's.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>

#include "kvpool/config.h"
#include "kvpool/llama.h"

namespace {

struct Bridge {
  std::unique_ptr<kvpool::Pool> pool;
  std::unique_ptr<kvpool::LlamaStore> store;
};

// -1, with the sentence on stderr, for what failed.
std::int64_t Answer(const kvpool::Result<std::size_t>& result) {
  if (result) return static_cast<std::int64_t>(*result);
  std::fprintf(stderr, "%s\n", result.error().message.c_str());
  return -1;
}

}  // namespace

extern "C" {

void* bridge_open(const char* pool_file, void* library, void* context, const char* model,
                  const char* kv, std::uint32_t chunk_tokens) {
  const auto config = kvpool::Config::Load(pool_file);
  if (!config) return nullptr;
  auto bridge = std::make_unique<Bridge>();
  auto pool = kvpool::Pool::Open(*config);
  if (!pool) return nullptr;
  bridge->pool = std::move(*pool);
  auto store = kvpool::LlamaStore::Open(*bridge->pool, library, context,
                                        {.model = model, .kv = kv, .chunk_tokens = chunk_tokens});
  if (!store) {
    std::fprintf(stderr, "%s\n", store.error().message.c_str());
    return nullptr;
  }
  bridge->store = std::move(*store);
  return bridge.release();
}

std::int64_t bridge_save(Bridge* bridge, const std::int32_t* tokens, std::size_t count) {
  return Answer(bridge->store->Save(std::span(tokens, count)));
}

std::int64_t bridge_restore(Bridge* bridge, const std::int32_t* tokens, std::size_t count) {
  return Answer(bridge->store->Restore(std::span(tokens, count)));
}

void bridge_close(Bridge* bridge) {
  bridge->store.reset();
  delete bridge;
}
}

// The pool's part of kvpool/kvpool.h.
#include <cstring>

#include "c/handles.h"

namespace kvpool::c {
namespace {

// So that no enumerator of one is missing in the other.
static_assert(static_cast<int>(Status::kOk) == KVPOOL_OK);
static_assert(static_cast<int>(Status::kNotFound) == KVPOOL_NOT_FOUND);
static_assert(static_cast<int>(Status::kExists) == KVPOOL_EXISTS);
static_assert(static_cast<int>(Status::kNoSpace) == KVPOOL_NO_SPACE);
static_assert(static_cast<int>(Status::kInvalid) == KVPOOL_INVALID);
static_assert(static_cast<int>(Status::kBusy) == KVPOOL_BUSY);
static_assert(static_cast<int>(Status::kTimedOut) == KVPOOL_TIMED_OUT);
static_assert(static_cast<int>(Status::kCancelled) == KVPOOL_CANCELLED);
static_assert(static_cast<int>(Status::kIoError) == KVPOOL_IO_ERROR);
static_assert(static_cast<int>(Status::kCorrupt) == KVPOOL_CORRUPT);
static_assert(static_cast<int>(Status::kUnsupported) == KVPOOL_UNSUPPORTED);
static_assert(static_cast<int>(Status::kDeclined) == KVPOOL_DECLINED);
static_assert(static_cast<int>(Status::kForbidden) == KVPOOL_FORBIDDEN);

Result<void> Missing(const char* what) {
  return Fail(Status::kInvalid, std::string(what) + " is NULL: give one");
}

std::string Text(const char* text) { return text == nullptr ? "" : text; }

SpaceSpec SpecOf(const kvpool_space_spec& spec) {
  return {.model = Text(spec.model),
          .dtype = Text(spec.dtype),
          .layout = Text(spec.layout),
          .layer_group = Text(spec.layer_group),
          .rank = Text(spec.rank),
          .engine = Text(spec.engine),
          .tenant_salt = Text(spec.tenant_salt),
          .owner = Text(spec.owner),
          .layers = spec.layers};
}

// Hands over what a call made, or says why it made nothing.
Result<void> Give(Result<std::shared_ptr<Memory>> made, kvpool_memory** memory) {
  if (!made) return tl::unexpected(made.error());
  *memory = new kvpool_memory{std::move(*made)};
  return {};
}

}  // namespace

kvpool_status StatusOf(Status status) { return static_cast<kvpool_status>(status); }

kvpool_status Report(const Error& error, kvpool_error* out) {
  if (out != nullptr) {
    out->status = StatusOf(error.status);
    out->system_errno = error.system_errno;
    const std::size_t length = error.message.copy(out->message, sizeof out->message - 1);
    out->message[length] = '\0';
  }
  return StatusOf(error.status);
}

std::vector<Key> KeysOf(const kvpool_key* keys, std::size_t count) {
  std::vector<Key> names;
  names.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    names.emplace_back(static_cast<const char*>(keys[i].data), keys[i].bytes);
  }
  return names;
}

}  // namespace kvpool::c

using kvpool::Fail;
using kvpool::Result;
using kvpool::Status;
using kvpool::c::Guard;
using kvpool::c::KeysOf;
using kvpool::c::Missing;

const char* kvpool_status_text(kvpool_status status) {
  const bool fits = static_cast<unsigned>(status) <= UINT8_MAX;
  return kvpool::ToString(static_cast<Status>(fits ? status : UINT8_MAX)).data();
}

const char* kvpool_version() { return KVPOOL_VERSION; }

kvpool_status kvpool_create(const char* pool_file, kvpool_error* error) {
  return Guard(error, [&]() -> Result<void> {
    if (pool_file == nullptr) return Missing("the pool file's path");
    const auto config = kvpool::Config::Load(pool_file);
    if (!config) return tl::unexpected(config.error());
    return kvpool::Pool::Create(*config);
  });
}

kvpool_status kvpool_open(const char* pool_file, int create, kvpool_pool** pool,
                          kvpool_error* error) {
  return Guard(error, [&]() -> Result<void> {
    if (pool_file == nullptr) return Missing("the pool file's path");
    if (pool == nullptr) return Missing("the place for the pool");
    auto config = kvpool::Config::Load(pool_file);
    if (!config) return tl::unexpected(config.error());
    config->create_if_missing |= create != 0;
    auto opened = kvpool::Pool::Open(*config);
    if (!opened) return tl::unexpected(opened.error());
    *pool = new kvpool_pool{std::move(*opened)};
    return {};
  });
}

kvpool_status kvpool_close(kvpool_pool* pool, kvpool_error* error) {
  return Guard(error, [&]() -> Result<void> {
    if (pool != nullptr && pool->channels.load() != 0) {
      return Fail(Status::kBusy, "the pool has open channels: close them first");
    }
    delete pool;
    return {};
  });
}

kvpool_status kvpool_open_space(kvpool_pool* pool, const kvpool_space_spec* spec,
                                kvpool_space* space, kvpool_error* error) {
  return Guard(error, [&]() -> Result<void> {
    if (pool == nullptr) return Missing("the pool");
    if (spec == nullptr || space == nullptr) return Missing("the spec or the place for the space");
    const auto opened = pool->pool->OpenSpace(kvpool::c::SpecOf(*spec));
    if (!opened) return tl::unexpected(opened.error());
    *space = opened->id;
    return {};
  });
}

size_t kvpool_match(const kvpool_pool* pool, kvpool_space space, const kvpool_key* keys,
                    size_t count) {
  size_t matched = 0;
  (void)Guard(nullptr, [&]() -> Result<void> {
    if (pool == nullptr || (keys == nullptr && count != 0)) return Missing("the pool or the keys");
    matched = pool->pool->Match({space}, KeysOf(keys, count));
    return {};
  });
  return matched;
}

kvpool_status kvpool_contains(const kvpool_pool* pool, kvpool_space space, const kvpool_key* keys,
                              size_t count, uint8_t* present, kvpool_error* error) {
  return Guard(error, [&]() -> Result<void> {
    if (pool == nullptr) return Missing("the pool");
    if (count == 0) return {};
    if (keys == nullptr || present == nullptr) return Missing("the keys or the place for answers");
    const auto answers = std::make_unique<bool[]>(count);
    pool->pool->Contains({space}, KeysOf(keys, count), {answers.get(), count});
    for (size_t i = 0; i < count; ++i) present[i] = answers[i] ? 1 : 0;
    return {};
  });
}

kvpool_status kvpool_allocate(kvpool_pool* pool, uint64_t bytes, int numa_node,
                              kvpool_memory** memory, kvpool_error* error) {
  return Guard(error, [&]() -> Result<void> {
    if (pool == nullptr || memory == nullptr) return Missing("the pool or the place for memory");
    if (bytes == 0)
      return Fail(Status::kInvalid, "memory is allocated by a number of bytes above 0");
    return kvpool::c::Give(pool->pool->Allocate(bytes, numa_node), memory);
  });
}

kvpool_status kvpool_register(kvpool_pool* pool, void* data, uint64_t bytes, kvpool_memory** memory,
                              kvpool_error* error) {
  return Guard(error, [&]() -> Result<void> {
    if (pool == nullptr || memory == nullptr) return Missing("the pool or the place for memory");
    if (data == nullptr) return Missing("the memory");
    return kvpool::c::Give(pool->pool->Register({static_cast<std::byte*>(data), bytes}), memory);
  });
}

void* kvpool_memory_data(const kvpool_memory* memory) {
  return memory == nullptr ? nullptr : memory->memory->bytes().data();
}

uint64_t kvpool_memory_bytes(const kvpool_memory* memory) {
  return memory == nullptr ? 0 : memory->memory->bytes().size();
}

void kvpool_free(kvpool_memory* memory) { delete memory; }

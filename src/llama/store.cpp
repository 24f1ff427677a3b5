#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "kvpool/llama.h"
#include "llama/chunks.h"
#include "llama/library.h"
#include "llama/staging.h"

namespace kvpool {
namespace llama {
namespace {

class Store final : public LlamaStore {
 public:
  Store(Pool& pool, Space space, Context context, std::unique_ptr<Staging> staging,
        std::uint32_t chunk_tokens)
      : pool_(pool),
        space_(space),
        context_(context),
        staging_(std::move(staging)),
        shape_{static_cast<std::int32_t>(chunk_tokens), context.window()} {}

  Result<std::size_t> Restore(std::span<const std::int32_t> tokens, std::int32_t sequence) override;
  Result<std::size_t> Save(std::span<const std::int32_t> tokens, std::int32_t sequence) override;

 private:
  struct Chunk {
    std::size_t index;
    Key key;
  };

  Result<void> CheckSequence(std::int32_t sequence) const;
  std::vector<bool> Contains(std::span<const ChunkKeys> keys, std::string ChunkKeys::* which) const;
  std::vector<Key> Find(std::span<const ChunkKeys> keys) const;
  std::vector<std::int32_t> Load(std::span<const Key> keys, std::int32_t sequence);
  bool TakeChunk(std::span<const std::byte> block, std::vector<std::int32_t>& firsts);
  bool IsWhole(std::size_t index) const;
  std::vector<Chunk> Unsaved(std::span<const ChunkKeys> keys, std::int32_t sequence);
  void ShareChunk(std::size_t index, std::int32_t sequence);

  std::int32_t Begin(std::size_t index) const {
    return static_cast<std::int32_t>(index) * shape_.chunk_tokens;
  }
  std::size_t Tokens(std::size_t chunks) const { return chunks * shape_.chunk_tokens; }

  Pool& pool_;
  Space space_;
  Context context_;
  std::unique_ptr<Staging> staging_;
  Shape shape_;
};

Result<std::size_t> Store::Restore(std::span<const std::int32_t> tokens, std::int32_t sequence) {
  if (auto checked = CheckSequence(sequence); !checked) return tl::unexpected(checked.error());
  context_.Remove(sequence);
  if (tokens.empty()) return 0;
  const auto room = std::min<std::size_t>(tokens.size() - 1, context_.tokens_max());
  const std::vector<ChunkKeys> keys = MakeKeys(tokens.first(room), Tokens(1));
  const std::vector<std::int32_t> firsts = Load(Find(keys), sequence);
  const std::size_t usable = Usable(shape_, firsts);
  context_.Remove(sequence, Begin(usable));
  return Tokens(usable);
}

Result<std::size_t> Store::Save(std::span<const std::int32_t> tokens, std::int32_t sequence) {
  if (auto checked = CheckSequence(sequence); !checked) return tl::unexpected(checked.error());
  const auto held = static_cast<std::size_t>(std::int64_t{context_.Last(sequence)} + 1);
  const std::vector<ChunkKeys> keys =
      MakeKeys(tokens.first(std::min(held, tokens.size())), Tokens(1));
  bool is_too_large = false;
  for (const Chunk& chunk : Unsaved(keys, sequence)) {
    ShareChunk(chunk.index, sequence);
    const std::size_t bytes = context_.Size(context_.scratch());
    const std::span<std::byte> to = staging_->Next(bytes);
    is_too_large = to.empty();
    if (is_too_large || context_.Read(context_.scratch(), to.data(), bytes) != bytes) break;
    const Key parent = chunk.index == 0 ? Key() : Key(keys[chunk.index - 1].whole);
    if (!staging_->Put(chunk.key, chunk.index, parent, bytes)) break;
  }
  context_.Remove(context_.scratch());
  const Staging::Stored stored = staging_->Finish();
  if (!is_too_large && !stored.has_too_large) return Tokens(stored.blocks);
  return Fail(Status::kInvalid,
              fmt::format("a chunk of {} tokens is larger than a block of the pool can be: give "
                          "fewer chunk_tokens, or the pool file a larger unit",
                          shape_.chunk_tokens));
}

Result<void> Store::CheckSequence(std::int32_t sequence) const {
  if (sequence >= 0 && sequence < context_.scratch()) return {};
  return Fail(Status::kInvalid,
              fmt::format("no sequence {} to save or restore: there are {}, and the last one is "
                          "used for transfers",
                          sequence, context_.sequences()));
}

std::vector<bool> Store::Contains(std::span<const ChunkKeys> keys,
                                  std::string ChunkKeys::* which) const {
  std::vector<Key> asked;
  for (const ChunkKeys& key : keys) asked.emplace_back(key.*which);
  const std::unique_ptr<bool[]> present(new bool[keys.size()]);
  pool_.Contains(space_, asked, std::span(present.get(), keys.size()));
  return std::vector<bool>(present.get(), present.get() + keys.size());
}

// What the pool has of the longest prefix that may be restored: one key a chunk.
std::vector<Key> Store::Find(std::span<const ChunkKeys> keys) const {
  const std::vector<bool> has_whole = Contains(keys, &ChunkKeys::whole);
  const std::vector<bool> has_lacking = Contains(keys, &ChunkKeys::lacking);
  std::vector<Key> found;
  std::vector<bool> found_whole;
  for (std::size_t i = 0; i < keys.size() && (has_whole[i] || has_lacking[i]); ++i) {
    found.emplace_back(has_whole[i] ? keys[i].whole : keys[i].lacking);
    found_whole.push_back(has_whole[i]);
  }
  found.resize(Promising(shape_, found_whole));
  return found;
}

// Appends chunks to the sequence. Of each that came: its first position, with sliding layers
// theirs, or its end where they have none of it.
std::vector<std::int32_t> Store::Load(std::span<const Key> keys, std::int32_t sequence) {
  std::vector<std::int32_t> firsts;
  staging_->Load(keys, [&](std::span<const std::byte> block) {
    if (!TakeChunk(block, firsts)) return false;
    context_.Share(context_.scratch(), sequence);
    context_.Remove(context_.scratch());
    return true;
  });
  context_.Remove(context_.scratch());
  return firsts;
}

// False where llama.cpp has no room, or the chunk is not what its key says.
bool Store::TakeChunk(std::span<const std::byte> block, std::vector<std::int32_t>& firsts) {
  const std::int32_t scratch = context_.scratch();
  if (!context_.Write(scratch, block.data(), block.size())) return false;
  const std::int32_t begin = Begin(firsts.size());
  const std::int32_t end = begin + shape_.chunk_tokens;
  const std::int32_t first = context_.First(scratch);
  const std::int32_t last = context_.Last(scratch);
  if (first >= 0 ? first < begin || last != end - 1 : last >= 0) return false;
  firsts.push_back(first < 0 ? end : first);
  return true;
}

// Whether the chunk in the scratch sequence has all that sliding layers keep of one that ends with
// it.
bool Store::IsWhole(std::size_t index) const {
  const std::int32_t begin = Begin(index);
  const std::int32_t end = begin + shape_.chunk_tokens;
  const std::int32_t needed = shape_.window == 0 ? begin : std::max(begin, end - shape_.window);
  const std::int32_t first = context_.First(context_.scratch());
  return context_.Last(context_.scratch()) == end - 1 && first >= 0 && first <= needed;
}

// What the sequence holds and the pool does not.
std::vector<Store::Chunk> Store::Unsaved(std::span<const ChunkKeys> keys, std::int32_t sequence) {
  const std::vector<bool> has_whole = Contains(keys, &ChunkKeys::whole);
  const std::vector<bool> has_lacking = Contains(keys, &ChunkKeys::lacking);
  std::vector<Chunk> chunks;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (has_whole[i]) continue;
    ShareChunk(i, sequence);
    if (IsWhole(i)) {
      chunks.push_back({i, keys[i].whole});
    } else if (shape_.window == 0) {
      break;  // the sequence does not hold what the caller says
    } else if (!has_lacking[i]) {
      chunks.push_back({i, keys[i].lacking});
    }
  }
  return chunks;
}

// Makes the scratch sequence one chunk of the sequence.
void Store::ShareChunk(std::size_t index, std::int32_t sequence) {
  context_.Remove(context_.scratch());
  context_.Share(sequence, context_.scratch(), Begin(index), Begin(index + 1));
}

}  // namespace
}  // namespace llama

Result<std::unique_ptr<LlamaStore>> LlamaStore::Open(Pool& pool, void* library, void* context,
                                                     const LlamaStoreOptions& options) {
  if (options.model.empty() || options.kv.empty() || options.chunk_tokens == 0) {
    return Fail(Status::kInvalid,
                "LlamaStoreOptions lacks model, kv or chunk_tokens: name the model and its "
                "revision, what decides its KV, and tokens a chunk");
  }
  auto opened = llama::Context::Open(library, context);
  if (!opened) return tl::unexpected(opened.error());
  auto space =
      pool.OpenSpace({.model = options.model,
                      .dtype = options.kv,
                      .layout = fmt::format("{} tokens; ", options.chunk_tokens),
                      .engine = fmt::format("llama.cpp, sequence state {}", llama::kStateVersion),
                      .tenant_salt = options.tenant});
  if (!space) return tl::unexpected(space.error());
  auto staging = llama::Staging::Open(pool, *space, options.staging_bytes);
  if (!staging) return tl::unexpected(staging.error());
  return std::make_unique<llama::Store>(pool, *space, *opened, std::move(*staging),
                                        options.chunk_tokens);
}

}  // namespace kvpool

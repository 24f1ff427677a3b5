// llama.cpp on a pool: prefixes of a sequence, chunk by chunk, by llama.cpp's public C API, which
// is looked up in libllama at run time: no header of it is needed.
//
//   auto store = kvpool::LlamaStore::Open(pool, nullptr, context, {.model = "m", .kv = "f16/f16"});
//   auto begin = (*store)->Restore(tokens);  // decode tokens[*begin..]
//   (*store)->Save(tokens);                  // the chunks that are not in the pool yet
//
// Python's kvpool.llama_cpp does the same with the same keys: with equal names each finds what the
// other saved.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "kvpool/pool.h"
#include "kvpool/result.h"

namespace kvpool {

struct LlamaStoreOptions {
  std::string model;  // name and revision; required
  // Whatever changes the KV of the same tokens or the order of its bytes: types of K and V, flash
  // attention, RoPE parameters, adapters. Required: llama.cpp does not tell.
  std::string kv;
  std::string tenant;  // keeps tenants apart
  std::uint32_t chunk_tokens = 256;
  std::uint64_t staging_bytes = 64 << 20;  // pool memory for transfers; at least two chunks
};

// Threads: the context's, one at a time. Pool, library and context have to outlive it.
class LlamaStore {
 public:
  // `library`: a handle of dlopen for libllama; null where the program is linked with it.
  // `context`: a llama_context with n_seq_max >= 2 and kv_unified; its last sequence is taken for
  // transfers. kInvalid and kUnsupported (functions missing, another version of llama.cpp's state,
  // a recurrent model), each with one sentence.
  static Result<std::unique_ptr<LlamaStore>> Open(Pool& pool, void* library, void* context,
                                                  const LlamaStoreOptions& options);
  virtual ~LlamaStore() = default;

  // Makes the sequence what the pool has of `tokens`, from position 0 on: the longest run of
  // leading chunks that leaves one token to compute. How many tokens that is; what the sequence
  // held is gone in any case. What cannot be brought back intact is missing. With sliding layers, a
  // prefix also needs their last window. kInvalid: no such sequence.
  virtual Result<std::size_t> Restore(std::span<const std::int32_t> tokens,
                                      std::int32_t sequence = 0) = 0;

  // Stores the full chunks that the sequence holds and the pool does not. `tokens`: what it was
  // computed from. How many tokens were stored now; a device that fails costs chunks, and is no
  // error. kInvalid: no such sequence, or a chunk is larger than a block of the pool can be.
  virtual Result<std::size_t> Save(std::span<const std::int32_t> tokens,
                                   std::int32_t sequence = 0) = 0;
};

}  // namespace kvpool

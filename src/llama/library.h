// llama.cpp by its public C API, looked up in the library at run time. Every argument is a pointer
// or an integer, so no type of llama.h is needed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kvpool/result.h"

namespace kvpool::llama {

constexpr std::uint32_t kStateVersion = 3;  // LLAMA_STATE_SEQ_VERSION, tested

struct Functions {
  void* (*get_memory)(void* context);
  void* (*get_model)(void* context);
  std::uint32_t (*n_ctx)(void* context);
  std::uint32_t (*n_ctx_seq)(void* context);
  std::uint32_t (*n_seq_max)(void* context);
  std::int32_t (*n_swa)(void* model);
  bool (*is_recurrent)(void* model);
  bool (*is_hybrid)(void* model);
  void (*seq_cp)(void* memory, std::int32_t from, std::int32_t to, std::int32_t begin,
                 std::int32_t end);
  bool (*seq_rm)(void* memory, std::int32_t sequence, std::int32_t begin, std::int32_t end);
  std::int32_t (*pos_min)(void* memory, std::int32_t sequence);
  std::int32_t (*pos_max)(void* memory, std::int32_t sequence);
  std::size_t (*get_size)(void* context, std::int32_t sequence, std::uint32_t flags);
  std::size_t (*get_data)(void* context, void* to, std::size_t bytes, std::int32_t sequence,
                          std::uint32_t flags);
  std::size_t (*set_data)(void* context, const void* from, std::size_t bytes, std::int32_t sequence,
                          std::uint32_t flags);
  std::size_t (*save_file)(void* context, const char* path, std::int32_t sequence,
                           const std::int32_t* tokens, std::size_t count);
};

// One llama_context, not owned. Threads: the context's, one at a time.
class Context {
 public:
  // kInvalid, kUnsupported, kIoError, as LlamaStore::Open.
  static Result<Context> Open(void* library, void* context);

  std::uint32_t tokens_max() const { return tokens_max_; }
  std::int32_t sequences() const { return sequences_; }
  std::int32_t scratch() const { return sequences_ - 1; }  // for transfers
  std::int32_t window() const { return window_; }          // of sliding layers; 0: there are none

  // The smallest and the largest position; with sliding layers, theirs. -1: none.
  std::int32_t First(std::int32_t sequence) const { return call_.pos_min(memory_, sequence); }
  std::int32_t Last(std::int32_t sequence) const { return call_.pos_max(memory_, sequence); }

  // Positions [begin, end) of `from` belong to `to`, too; below 0: all. No bytes move.
  void Share(std::int32_t from, std::int32_t to, std::int32_t begin = -1, std::int32_t end = -1) {
    call_.seq_cp(memory_, from, to, begin, end);
  }
  void Remove(std::int32_t sequence, std::int32_t begin = -1) {
    call_.seq_rm(memory_, sequence, begin, -1);
  }

  std::size_t Size(std::int32_t sequence) const { return call_.get_size(context_, sequence, 0); }
  // How many bytes it wrote to `to`; 0 where that failed.
  std::size_t Read(std::int32_t sequence, void* to, std::size_t bytes) const {
    return call_.get_data(context_, to, bytes, sequence, 0);
  }
  // Makes the sequence what was read. False: llama.cpp refuses the bytes, or has no room.
  bool Write(std::int32_t sequence, const void* from, std::size_t bytes) {
    return call_.set_data(context_, from, bytes, sequence, 0) != 0;
  }

 private:
  Result<void> Check();
  Result<void> CheckStateVersion();

  Functions call_{};
  void* context_ = nullptr;
  void* memory_ = nullptr;
  std::uint32_t tokens_max_ = 0;
  std::int32_t sequences_ = 0;
  std::int32_t window_ = 0;
};

}  // namespace kvpool::llama

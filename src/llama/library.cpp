#include "llama/library.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

namespace kvpool::llama {
namespace {

// The names that are missing, for Load.
class Symbols {
 public:
  explicit Symbols(void* library) : library_(library == nullptr ? RTLD_DEFAULT : library) {}

  template <class Function>
  void Find(const char* name, Function& function) {
    void* const found = dlsym(library_, name);
    if (found == nullptr && missing_.empty()) missing_ = name;
    function = reinterpret_cast<Function>(found);
  }
  const std::string& missing() const { return missing_; }

 private:
  void* library_;
  std::string missing_;
};

Result<Functions> Load(void* library) {
  Functions call{};
  Symbols symbols(library);
  symbols.Find("llama_get_memory", call.get_memory);
  symbols.Find("llama_get_model", call.get_model);
  symbols.Find("llama_n_ctx", call.n_ctx);
  symbols.Find("llama_n_ctx_seq", call.n_ctx_seq);
  symbols.Find("llama_n_seq_max", call.n_seq_max);
  symbols.Find("llama_model_n_swa", call.n_swa);
  symbols.Find("llama_model_is_recurrent", call.is_recurrent);
  symbols.Find("llama_model_is_hybrid", call.is_hybrid);
  symbols.Find("llama_memory_seq_cp", call.seq_cp);
  symbols.Find("llama_memory_seq_rm", call.seq_rm);
  symbols.Find("llama_memory_seq_pos_min", call.pos_min);
  symbols.Find("llama_memory_seq_pos_max", call.pos_max);
  symbols.Find("llama_state_seq_get_size_ext", call.get_size);
  symbols.Find("llama_state_seq_get_data_ext", call.get_data);
  symbols.Find("llama_state_seq_set_data_ext", call.set_data);
  symbols.Find("llama_state_seq_save_file", call.save_file);
  if (symbols.missing().empty()) return call;
  return Fail(Status::kUnsupported,
              fmt::format("the library has no {}: give dlopen's handle of libllama 0.5, or null "
                          "where the program is linked with it",
                          symbols.missing()));
}

}  // namespace

Result<Context> Context::Open(void* library, void* context) {
  auto functions = Load(library);
  if (!functions) return tl::unexpected(functions.error());
  Context opened;
  opened.call_ = *functions;
  opened.context_ = context;
  if (auto checked = opened.Check(); !checked) return tl::unexpected(checked.error());
  if (auto checked = opened.CheckStateVersion(); !checked) return tl::unexpected(checked.error());
  return opened;
}

Result<void> Context::Check() {
  memory_ = context_ == nullptr ? nullptr : call_.get_memory(context_);
  if (memory_ == nullptr) {
    return Fail(Status::kInvalid,
                "there is no context with a KV cache: give the llama_context of a model that "
                "generates text");
  }
  tokens_max_ = call_.n_ctx(context_);
  sequences_ = static_cast<std::int32_t>(call_.n_seq_max(context_));
  if (sequences_ < 2) {
    return Fail(Status::kInvalid,
                "the context has one sequence, and chunks pass through a second one: set n_seq_max "
                "to 2 or more");
  }
  if (call_.n_ctx_seq(context_) != tokens_max_) {
    return Fail(Status::kInvalid,
                "each sequence of the context has a KV cache of its own, which llama.cpp copies "
                "only as a whole: set kv_unified to true");
  }
  void* const model = call_.get_model(context_);
  if (call_.is_recurrent(model) || call_.is_hybrid(model)) {
    return Fail(Status::kUnsupported,
                "a recurrent model keeps one state and not one for each token, so it has no chunks "
                "to store: use a model with attention alone");
  }
  window_ = std::max(0, call_.n_swa(model));
  return {};
}

// Only the library's files tell the version: in the second of their numbers.
Result<void> Context::CheckStateVersion() {
  Remove(scratch());
  const int file = memfd_create("kvpool-llama", MFD_CLOEXEC);
  if (file < 0) return Fail(Status::kIoError, "memfd_create failed: free some memory", errno);
  const std::int32_t none = 0;
  call_.save_file(context_, fmt::format("/proc/self/fd/{}", file).c_str(), scratch(), &none, 0);
  std::array<std::uint32_t, 2> head = {};
  const bool has_read = pread(file, head.data(), sizeof(head), 0) == sizeof(head);
  close(file);
  if (has_read && head[1] == kStateVersion) return {};
  return Fail(Status::kUnsupported,
              fmt::format("this libllama writes sequence states of version {}, tested is {}: take "
                          "llama.cpp 0.5, or a kvpool made for this one",
                          head[1], kStateVersion));
}

}  // namespace kvpool::llama

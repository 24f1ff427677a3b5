// The toy libllama of fake_llama.cpp: what tests call of it besides llama.cpp's own functions.
#pragma once

#include <cstddef>
#include <cstdint>

struct llama_context;

extern "C" {

// What a model and a context are made of. Python has the same fields, in this order.
struct FakeLlama {
  std::uint32_t n_ctx;
  std::uint32_t n_seq_max;
  std::uint32_t is_unified;
  std::int32_t window;      // of sliding layers; 0: there are none
  std::uint32_t keeps_all;  // swa_full: sliding layers keep what they no longer see
  std::uint32_t state_version;
  std::uint32_t is_recurrent;
  std::uint32_t has_memory;
  std::uint64_t seed;  // of the weights
};

llama_context* fake_llama_new(const FakeLlama* options);
void fake_llama_free(llama_context* context);
// Appends a token. What the model says: depends on all that the token sees. 0: there is no room.
std::uint64_t fake_llama_decode(llama_context* context, std::int32_t sequence, std::int32_t token);

llama_context* llama_get_memory(llama_context* context);
llama_context* llama_get_model(llama_context* context);
std::uint32_t llama_n_ctx(const llama_context* context);
std::uint32_t llama_n_ctx_seq(const llama_context* context);
std::uint32_t llama_n_seq_max(const llama_context* context);
std::int32_t llama_model_n_swa(const llama_context* model);
bool llama_model_is_recurrent(const llama_context* model);
bool llama_model_is_hybrid(const llama_context* model);
void llama_memory_seq_cp(llama_context* memory, std::int32_t from, std::int32_t to,
                         std::int32_t begin, std::int32_t end);
bool llama_memory_seq_rm(llama_context* memory, std::int32_t sequence, std::int32_t begin,
                         std::int32_t end);
std::int32_t llama_memory_seq_pos_min(llama_context* memory, std::int32_t sequence);
std::int32_t llama_memory_seq_pos_max(llama_context* memory, std::int32_t sequence);
std::size_t llama_state_seq_get_size_ext(llama_context* context, std::int32_t sequence,
                                         std::uint32_t flags);
std::size_t llama_state_seq_get_data_ext(llama_context* context, std::uint8_t* to,
                                         std::size_t bytes, std::int32_t sequence,
                                         std::uint32_t flags);
std::size_t llama_state_seq_set_data_ext(llama_context* context, const std::uint8_t* from,
                                         std::size_t bytes, std::int32_t sequence,
                                         std::uint32_t flags);
std::size_t llama_state_seq_save_file(llama_context* context, const char* path,
                                      std::int32_t sequence, const std::int32_t* tokens,
                                      std::size_t count);
}

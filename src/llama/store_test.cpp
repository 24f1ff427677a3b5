// Over a real pool in memory and a toy libllama, which dlopen finds as it would the real one.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <vector>

#include "kvpool/config.h"
#include "kvpool/llama.h"
#include "llama/fake_llama.h"

namespace kvpool {
namespace {

using testing::HasSubstr;
using Tokens = std::vector<std::int32_t>;

constexpr std::size_t kChunk = 16;
constexpr FakeLlama kModel = {
    .n_ctx = 1024, .n_seq_max = 2, .is_unified = 1, .state_version = 3, .has_memory = 1, .seed = 1};

// A context of the toy model.
class Llama {
 public:
  explicit Llama(void* library, const FakeLlama& options = kModel) {
    Find(library, "fake_llama_free", free_);
    Find(library, "fake_llama_decode", decode_);
    decltype(&fake_llama_new) make = nullptr;
    Find(library, "fake_llama_new", make);
    context_ = make(&options);
  }
  ~Llama() { free_(context_); }
  Llama(const Llama&) = delete;
  Llama& operator=(const Llama&) = delete;

  llama_context* context() { return context_; }

  // What the model says behind the last token.
  std::uint64_t Decode(std::span<const std::int32_t> tokens, std::int32_t sequence = 0) {
    std::uint64_t said = 0;
    for (const std::int32_t token : tokens) said = decode_(context_, sequence, token);
    return said;
  }

 private:
  template <class Function>
  static void Find(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library, name));
  }

  decltype(&fake_llama_free) free_ = nullptr;
  decltype(&fake_llama_decode) decode_ = nullptr;
  llama_context* context_ = nullptr;
};

class LlamaStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    library_ = dlopen(KVPOOL_FAKE_LLAMA, RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(library_, nullptr) << dlerror();
    Config config;
    config.create_if_missing = true;
    config.devices.push_back({.name = "ram",
                              .kind = DeviceKind::kMemory,
                              .capacity_bytes = 32 << 20,
                              .read_bytes_per_s = 1e9,
                              .write_bytes_per_s = 1e9});
    auto pool = Pool::Open(config);
    ASSERT_TRUE(pool.has_value()) << pool.error().message;
    pool_ = std::move(*pool);
    prompt_.resize(5 * kChunk + 3);
    for (std::size_t i = 0; i < prompt_.size(); ++i) {
      prompt_[i] = static_cast<std::int32_t>(7 * i % 1000);
    }
  }
  void TearDown() override {
    pool_.reset();
    if (library_ != nullptr) dlclose(library_);
  }

  static LlamaStoreOptions Options() {
    return {.model = "toy", .kv = "u64", .chunk_tokens = kChunk, .staging_bytes = 2 << 20};
  }

  std::unique_ptr<LlamaStore> Store(Llama& llama, const LlamaStoreOptions& options = Options()) {
    auto store = LlamaStore::Open(*pool_, library_, llama.context(), options);
    if (!store) ADD_FAILURE() << store.error().message;
    return store ? std::move(*store) : nullptr;
  }

  std::string Refusal(const FakeLlama& model, const LlamaStoreOptions& options = Options()) {
    Llama llama(library_, model);
    auto store = LlamaStore::Open(*pool_, library_, llama.context(), options);
    return store ? "" : store.error().message;
  }

  // A context that computed `tokens` saves them; how many were stored.
  std::size_t Saved(const Tokens& tokens, const FakeLlama& model = kModel) {
    Llama llama(library_, model);
    llama.Decode(tokens);
    return Store(llama)->Save(tokens).value();
  }

  // A new context restores so many, and says behind all of `tokens` what one says that computed
  // them.
  void ExpectRestored(const Tokens& tokens, std::size_t restored, const FakeLlama& model = kModel,
                      const LlamaStoreOptions& options = Options()) {
    Llama llama(library_, model);
    EXPECT_EQ(Store(llama, options)->Restore(tokens).value(), restored);
    Llama computing(library_, model);
    EXPECT_EQ(llama.Decode(std::span(tokens).subspan(restored)), computing.Decode(tokens));
  }

  Tokens Prefix(std::size_t chunks, std::initializer_list<std::int32_t> more) const {
    Tokens tokens(prompt_.begin(), prompt_.begin() + static_cast<std::ptrdiff_t>(chunks * kChunk));
    tokens.insert(tokens.end(), more);
    return tokens;
  }

  void* library_ = nullptr;
  std::unique_ptr<Pool> pool_;
  Tokens prompt_;
};

TEST_F(LlamaStoreTest, BringsAPromptBack) {
  EXPECT_EQ(Saved(prompt_), 5 * kChunk);
  EXPECT_EQ(Saved(prompt_), 0);
  ExpectRestored(prompt_, 5 * kChunk);
  ExpectRestored(Prefix(3, {5, 6}), 3 * kChunk);
  ExpectRestored(Prefix(3, {}), 2 * kChunk);
  ExpectRestored({}, 0);
}

TEST_F(LlamaStoreTest, TheModelSaysSomethingElseWithoutWhatWasRestored) {
  Llama whole(library_);
  Llama part(library_);
  EXPECT_NE(part.Decode(std::span(prompt_).last(3)), whole.Decode(prompt_));
}

TEST_F(LlamaStoreTest, FindsNothingInAnotherSpace) {
  Saved(prompt_);
  LlamaStoreOptions options = Options();
  options.model = "other";
  ExpectRestored(prompt_, 0, kModel, options);
  options = Options();
  options.kv = "u32";
  ExpectRestored(prompt_, 0, kModel, options);
  options = Options();
  options.tenant = "other";
  ExpectRestored(prompt_, 0, kModel, options);
}

TEST_F(LlamaStoreTest, LeavesOtherSequencesAlone) {
  FakeLlama model = kModel;
  model.n_seq_max = 3;
  Llama llama(library_, model);
  const auto store = Store(llama);
  llama.Decode(prompt_, 0);
  EXPECT_EQ(store->Save(prompt_, 0).value(), 5 * kChunk);
  EXPECT_EQ(store->Restore(prompt_, 1).value(), 5 * kChunk);
  Llama computing(library_, model);
  computing.Decode(prompt_);
  const std::uint64_t said = computing.Decode(Tokens{1});
  EXPECT_EQ(llama.Decode(Tokens{1}, 0), said);
  llama.Decode(std::span(prompt_).last(3), 1);
  EXPECT_EQ(llama.Decode(Tokens{1}, 1), said);
}

TEST_F(LlamaStoreTest, WithSlidingLayersAPrefixNeedsItsLastWindow) {
  FakeLlama model = kModel;
  model.window = 40;
  EXPECT_EQ(Saved(Prefix(5, {}), model), 5 * kChunk);
  ExpectRestored(Prefix(5, {5}), 5 * kChunk, model);
  ExpectRestored(Prefix(4, {5}), 0, model);

  model.keeps_all = 1;
  EXPECT_GT(Saved(Prefix(5, {}), model), 0);
  for (std::size_t chunks = 1; chunks <= 5; ++chunks) {
    ExpectRestored(Prefix(chunks, {5}), chunks * kChunk, model);
  }
}

TEST_F(LlamaStoreTest, RestoresWhatTheContextHasRoomFor) {
  Saved(prompt_);
  FakeLlama model = kModel;
  model.n_seq_max = 3;
  model.n_ctx = 5 * kChunk;
  Llama llama(library_, model);
  llama.Decode(Tokens(kChunk, 1), 1);
  EXPECT_EQ(Store(llama)->Restore(prompt_).value(), 4 * kChunk);
}

TEST_F(LlamaStoreTest, TakesChunksLargerThanItsFirstSlots) {
  FakeLlama model = kModel;
  model.n_ctx = 3000;
  LlamaStoreOptions options = Options();
  options.chunk_tokens = 2100;  // somewhat more than 1 MiB
  Tokens tokens(2101);
  std::iota(tokens.begin(), tokens.end(), 0);
  Llama llama(library_, model);
  llama.Decode(tokens);
  EXPECT_EQ(Store(llama, options)->Save(tokens).value(), 2100);
  ExpectRestored(tokens, 2100, model, options);
}

TEST_F(LlamaStoreTest, TakesMoreChunksThanItHasSlots) {
  Tokens tokens(901);
  std::iota(tokens.begin(), tokens.end(), 0);
  EXPECT_EQ(Saved(tokens), 896);
  ExpectRestored(tokens, 896);
}

TEST_F(LlamaStoreTest, RefusesContextsThatWillNotDo) {
  FakeLlama model = kModel;
  model.n_seq_max = 1;
  EXPECT_THAT(Refusal(model), HasSubstr("set n_seq_max to 2 or more"));
  model = kModel;
  model.is_unified = 0;
  EXPECT_THAT(Refusal(model), HasSubstr("set kv_unified to true"));
  model = kModel;
  model.state_version = 2;
  EXPECT_THAT(Refusal(model), HasSubstr("version 2, tested is 3"));
  model = kModel;
  model.is_recurrent = 1;
  EXPECT_THAT(Refusal(model), HasSubstr("a recurrent model"));
  model = kModel;
  model.has_memory = 0;
  EXPECT_THAT(Refusal(model), HasSubstr("no context with a KV cache"));
}

TEST_F(LlamaStoreTest, RefusesBadArguments) {
  EXPECT_THAT(Refusal(kModel, {}), HasSubstr("name the model"));
  Llama llama(library_);
  const auto other = LlamaStore::Open(*pool_, nullptr, llama.context(), Options());
  ASSERT_FALSE(other.has_value());  // this program is not linked with libllama
  EXPECT_THAT(other.error().message, HasSubstr("no llama_get_memory"));
  const auto store = Store(llama);
  for (const std::int32_t sequence : {-1, 1, 2}) {
    EXPECT_EQ(store->Restore(prompt_, sequence).error().status, Status::kInvalid);
    EXPECT_EQ(store->Save(prompt_, sequence).error().status, Status::kInvalid);
  }
}

}  // namespace
}  // namespace kvpool

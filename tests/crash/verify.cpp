#include "tests/crash/verify.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "tests/crash/content.h"

namespace kvpool::crash {
namespace {

constexpr int kMostNamed = 20;

// Whether the block has to be there: in a round with evictions only what was kept from them.
bool IsPromised(const KeyState& state, bool tight) {
  return state.durable && (!tight || state.held);
}

class Reader {
 public:
  Reader(Pool& pool, const History& history, const Judgement& how, History& met)
      : history_(history), how_(how), met_(met) {
    for (const SpaceSpec& spec : Specs()) spaces_.push_back(pool.OpenSpace(spec).value());
    channel_ = pool.OpenChannel().value();
  }

  Verdict Run() {
    for (const auto& [key, state] : history_.keys) ReadOne(key, state);
    return verdict_;
  }

 private:
  void ReadOne(const std::string& name, const KeyState& state) {
    ContextId context;
    std::uint32_t block = 0;
    if (!ParseKey(name, context, block)) return;
    bytes_.resize(BlockBytes(context));
    const Key key = name;
    const Segment into{bytes_.data(), bytes_.size()};
    GetRequest get;
    get.space = spaces_[SpaceOf(context)];
    get.keys = {&key, 1};
    get.into = {&into, 1};
    if (channel_->Submit(get) != Status::kOk) std::abort();
    Request* done = nullptr;
    while (channel_->Poll({&done, 1}) == 0) channel_->Wait(std::chrono::seconds(1));
    if (how_.flip) bytes_[bytes_.size() / 2] ^= std::byte{1};
    Judge(name, state, get.result(0) == Status::kOk, get.block_bytes(0));
  }

  void Judge(const std::string& name, const KeyState& state, bool present,
             std::uint64_t block_bytes) {
    const bool aged = state.visible != 0 && !state.from_before && !history_.tight &&
                      state.visible_ms + how_.age_ms <= history_.end_ms;
    verdict_.aged += aged;
    verdict_.durable += IsPromised(state, history_.tight);
    if (!present) {
      if (!IsPromised(state, history_.tight)) return;
      ++verdict_.durable_missing;
      Name(name + " was acknowledged as durable and is missing");
      return;
    }
    ++verdict_.checked;
    verdict_.aged_warm += aged;
    const std::uint64_t version =
        block_bytes == bytes_.size() ? VersionOf(name, bytes_) : std::uint64_t{0};
    met_.keys[name].visible = version;
    if (version != 0 && version >= state.floor && version <= state.last) return;
    ++verdict_.wrong;
    Name(name + " has the bytes of version " + std::to_string(version) + ", not of " +
         std::to_string(state.floor) + " to " + std::to_string(state.last));
  }

  void Name(const std::string& sentence) {
    if (++named_ <= kMostNamed) std::fprintf(stderr, "crash_load: %s\n", sentence.c_str());
  }

  const History& history_;
  const Judgement how_;
  History& met_;
  Verdict verdict_;
  std::vector<Space> spaces_;
  std::unique_ptr<Channel> channel_;
  std::vector<std::byte> bytes_;
  int named_ = 0;
};

}  // namespace

Verdict Verify(Pool& pool, const History& history, const Judgement& how, History& met) {
  Verdict verdict = Reader(pool, history, how, met).Run();
  for (const DeviceInfo& device : pool.info().devices) verdict.torn += device.checksum_failures;
  return verdict;
}

void WriteNextLog(const std::string& path, const History& history, const History& met) {
  const std::string made = path + ".new";
  std::error_code ignored;
  std::filesystem::remove(made, ignored);
  {
    Log log(made);
    std::string lines;
    for (const auto& [key, state] : history.keys) {
      lines +=
          "A " + key + " " + std::to_string(state.floor) + " " + std::to_string(state.last) + "\n";
    }
    for (const auto& [key, state] : met.keys) {
      lines += "W " + key + " " + std::to_string(state.visible) + "\n";
    }
    log.Write(lines);
  }
  std::filesystem::rename(made, path);
}

}  // namespace kvpool::crash

// RunBench: every method in turn, over and over, on the same bytes and the same devices.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <thread>

#include "base/clock.h"
#include "base/limits.h"
#include "bench/compare/arithmetic.h"
#include "bench/compare/bench.h"
#include "bench/compare/contender.h"
#include "bench/compare/measure.h"
#include "bench/compare/plan.h"
#include "bench/compare/recorder.h"
#include "bench/compare/summary.h"
#include "mem/region.h"

namespace kvpool::bench {
namespace {

Result<std::unique_ptr<Contender>> MakeUsual(std::string_view method, const Setting& setting,
                                             std::span<std::byte> buffer) {
  if (method == "pool" || method == "equal") {
    const auto placement = method == "pool" ? Placement::kBandwidth : Placement::kEqual;
    return MakePoolContender(setting, MakePoolParts(setting, placement), buffer);
  }
  if (method == "serial") return MakeSerialContender(setting, false);
  if (method == "serial-direct") return MakeSerialContender(setting, true);
  return MakeFioContender(setting);
}

class Runner {
 public:
  Runner(const BenchOptions& options, Plan plan)
      : options_(options), plan_(std::move(plan)), setting_(plan_.setting) {}

  Result<BenchResult> Run();

 private:
  using Samples = std::vector<std::vector<std::vector<Sample>>>;  // by case, method, repeat

  Result<void> RunMethod(std::uint32_t repeat, std::size_t method);
  Result<void> Retrieve(Contender& contender, std::size_t method, std::size_t case_index);
  Result<Sample> Delivered(Contender& contender, std::size_t method, const Case& what,
                           TimelineRecorder* recorder);
  Result<void> RecordTimeline(Contender& contender, std::size_t method);
  void Report(const std::string& step, std::string_view method, std::uint64_t blocks);
  double ExpectedSeconds(std::string_view method, std::uint64_t blocks) const;
  double ExpectedSecondsOfAll() const;
  std::vector<Row> MakeRows() const;
  Row ChecksumRow() const;

  const BenchOptions& options_;
  Plan plan_;
  const Setting& setting_;
  std::unique_ptr<mem::Region> buffer_;
  std::unique_ptr<Content> content_;
  Samples retrievals_;
  std::map<std::size_t, std::vector<Sample>> stores_;  // by method
  std::vector<std::string> notes_;                     // by method
  std::vector<Timeline> timelines_;
  double expected_done_s_ = 0;
  double expected_all_s_ = 1;
};

double Runner::ExpectedSeconds(std::string_view method, std::uint64_t blocks) const {
  const double bytes_per_s =
      ExpectedBytesPerS(method, setting_, blocks).value_or(FastestFileBytesPerS(setting_));
  return static_cast<double>(blocks * setting_.block_bytes) / std::max(bytes_per_s, 1.0);
}

double Runner::ExpectedSecondsOfAll() const {
  double seconds = 0;
  for (const std::string& method : options_.methods) {
    double each = ExpectedSeconds(method, setting_.blocks);  // storing
    for (const Case& what : plan_.cases) each += ExpectedSeconds(method, what.blocks);
    seconds += options_.repeat * each;
    if (options_.timelines) seconds += ExpectedSeconds(method, setting_.blocks);
  }
  return seconds;
}

// Tells what begins now, and counts it as done from the next call on.
void Runner::Report(const std::string& step, std::string_view method, std::uint64_t blocks) {
  if (options_.progress) {
    options_.progress({step, std::min(1.0, expected_done_s_ / expected_all_s_)});
  }
  expected_done_s_ += ExpectedSeconds(method, blocks);
}

tl::unexpected<Error> Named(std::string_view method, Error error) {
  if (error.status != Status::kCancelled) {
    error.message = fmt::format("{}: {}", method, error.message);
  }
  return tl::unexpected<Error>(std::move(error));
}

// One retrieval, every byte of which is looked at afterwards.
Result<Sample> Runner::Delivered(Contender& contender, std::size_t method, const Case& what,
                                 TimelineRecorder* recorder) {
  contender.DropCaches();
  Poison(content_->buffer());
  if (recorder != nullptr) recorder->Start(contender);
  auto sample = contender.Retrieve(what.blocks, content_->buffer());
  if (recorder != nullptr) recorder->Stop();
  if (!sample) return Named(options_.methods[method], sample.error());
  if (!contender.delivers()) return sample;
  if (const auto wrong = content_->FirstWrongBlock(what.blocks)) {
    return Fail(Status::kCorrupt,
                fmt::format("{}: block {} came back with other bytes than were stored ({}): the "
                            "figures are void.",
                            options_.methods[method], *wrong, what.name));
  }
  return sample;
}

Result<void> Runner::Retrieve(Contender& contender, std::size_t method, std::size_t case_index) {
  auto sample = Delivered(contender, method, plan_.cases[case_index], nullptr);
  if (!sample) return tl::unexpected(sample.error());
  auto ratio = contender.LayerRatio(plan_.cases[case_index].blocks, content_->buffer());
  if (!ratio) return Named(options_.methods[method], ratio.error());
  sample->layer_ratio = *ratio;
  retrievals_[case_index][method].push_back(*sample);
  return {};
}

Result<void> Runner::RecordTimeline(Contender& contender, std::size_t method) {
  if (!contender.delivers()) return {};
  const Case whole{"the whole context", setting_.blocks};
  TimelineRecorder recorder(setting_, ExpectedSeconds(options_.methods[method], whole.blocks));
  auto sample = Delivered(contender, method, whole, &recorder);
  if (!sample) return tl::unexpected(sample.error());
  timelines_.push_back(recorder.Take(options_.methods[method], contender.note(),
                                     whole.blocks * setting_.block_bytes, sample->seconds));
  return {};
}

Result<void> Runner::RunMethod(std::uint32_t repeat, std::size_t method) {
  const std::string& name = options_.methods[method];
  const std::string prefix = fmt::format("repeat {} of {}: {}", repeat + 1, options_.repeat, name);
  Report(prefix + ", storing", name, setting_.blocks);
  content_->Fill();
  auto contender = plan_.make(name, setting_, content_->buffer());
  if (!contender) return Named(name, contender.error());
  auto stored = (*contender)->Store(*content_);
  if (!stored) return Named(name, stored.error());
  if (*stored) stores_[method].push_back(**stored);
  for (std::size_t c = 0; c < plan_.cases.size(); ++c) {
    if (setting_.stopped()) return Fail(Status::kCancelled, "stopped; nothing is left behind.");
    Report(fmt::format("{}, {}", prefix, plan_.cases[c].name), name, plan_.cases[c].blocks);
    if (auto done = Retrieve(**contender, method, c); !done) return done;
  }
  notes_[method] = (*contender)->note();
  if (options_.timelines && repeat == 0) {
    Report(prefix + ", picture", name, setting_.blocks);
    return RecordTimeline(**contender, method);
  }
  return {};
}

std::vector<Row> Runner::MakeRows() const {
  std::vector<Row> rows;
  for (std::size_t c = 0; c < plan_.cases.size(); ++c) {
    for (std::size_t m = 0; m < options_.methods.size(); ++m) {
      Row row = Summarise(retrievals_[c][m], SumBytesPerS(setting_));
      row.bench = options_.bench_name;
      row.case_name = plan_.cases[c].name;
      row.method = options_.methods[m];
      row.expected_bytes_per_s = ExpectedBytesPerS(row.method, setting_, plan_.cases[c].blocks);
      row.note = notes_[m];
      rows.push_back(row);
    }
  }
  Setting writing = setting_;
  for (DeviceSpeed& device : writing.devices) device.read_bytes_per_s = device.write_bytes_per_s;
  for (const auto& [method, samples] : stores_) {
    Row row = Summarise(samples, SumBytesPerS(writing));
    row.bench = options_.bench_name;
    row.case_name = "store";
    row.method = options_.methods[method] + "-put";
    row.expected_bytes_per_s =
        ExpectedBytesPerS(options_.methods[method], writing, setting_.blocks);
    row.note = notes_[method];
    rows.push_back(row);
  }
  if (options_.verify && std::count(options_.methods.begin(), options_.methods.end(), "fio") != 0) {
    rows.push_back(ChecksumRow());
  }
  return rows;
}

// Beside fio, which checks nothing: what the checks alone cost.
Row Runner::ChecksumRow() const {
  std::vector<Sample> samples;
  for (std::uint32_t repeat = 0; repeat < options_.repeat; ++repeat) {
    samples.push_back(MeasureChecksums(content_->buffer(), setting_.unit_bytes));
  }
  Row row = Summarise(samples, SumBytesPerS(setting_));
  row.bench = options_.bench_name;
  row.case_name = "checksums alone";
  row.method = "xxh3";
  row.fraction_of_devices.reset();
  row.note = "one thread, bytes in memory";
  return row;
}

Result<BenchResult> Runner::Run() {
  auto buffer = mem::Region::Make({.bytes = setting_.context_bytes(), .shareable = false});
  if (!buffer) return tl::unexpected(buffer.error());
  buffer_ = std::move(*buffer);
  content_ = std::make_unique<Content>(
      options_.seed, buffer_->bytes().first(setting_.context_bytes()), setting_.block_bytes);
  plan_.facts.emplace_back("Destination", buffer_->description());
  retrievals_.assign(plan_.cases.size(), std::vector<std::vector<Sample>>(options_.methods.size()));
  notes_.resize(options_.methods.size());
  expected_all_s_ = ExpectedSecondsOfAll();
  for (std::uint32_t repeat = 0; repeat < options_.repeat; ++repeat) {
    for (std::size_t turn = 0; turn < options_.methods.size(); ++turn) {
      if (setting_.stopped()) return Fail(Status::kCancelled, "stopped; nothing is left behind.");
      // Each repeat begins with another method, so that coming first favours none.
      auto done = RunMethod(repeat, (turn + repeat) % options_.methods.size());
      if (!done) return tl::unexpected(done.error());
    }
  }
  if (options_.progress) options_.progress({"done", 1});
  BenchResult result;
  result.header = MakeHeader(SettingsText(options_));
  result.rows = MakeRows();
  result.timelines = std::move(timelines_);
  result.facts = plan_.facts;
  result.warnings = plan_.warnings;
  return result;
}

}  // namespace

Need NeedOf(std::string_view method, const Setting& setting) {
  if (method == "pool") return PoolNeed(setting, Placement::kBandwidth);
  if (method == "equal") return PoolNeed(setting, Placement::kEqual);
  if (method == "fio") return {.memory_bytes = 128 * kMiB, .disk_bytes = setting.context_bytes()};
  const std::uint64_t in_memory = SerialMemoryBlocks(setting, setting.blocks) * setting.block_bytes;
  return {.memory_bytes = in_memory, .disk_bytes = setting.context_bytes() - in_memory};
}

Result<BenchResult> RunBench(const BenchOptions& options) {
  auto plan = MakePlan(options);
  if (!plan) return tl::unexpected(plan.error());
  plan->make = MakeUsual;
  return RunPlan(options, std::move(*plan));
}

Result<BenchResult> RunPlan(const BenchOptions& options, Plan plan) {
  return Runner(options, std::move(plan)).Run();
}

}  // namespace kvpool::bench

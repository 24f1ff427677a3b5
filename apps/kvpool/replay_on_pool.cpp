#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "apps/kvpool/options.h"
#include "apps/kvpool/outputs.h"
#include "apps/kvpool/progress.h"
#include "apps/kvpool/replay_command.h"
#include "apps/kvpool/results.h"
#include "apps/kvpool/table.h"
#include "base/units.h"
#include "bench/replay_pool.h"
#include "bench/trace/trace.h"

namespace kvpool::cli {
namespace {

using Report = bench::PoolReplayReport;

// Reads the trace line by line and shows how far it is.
class Feed {
 public:
  static Result<std::unique_ptr<Feed>> Open(const ReplayOptions& options) {
    auto feed = std::unique_ptr<Feed>(new Feed(options));
    std::error_code error;
    if (!feed->file_ || std::filesystem::is_directory(TracePath(options), error)) {
      return Fail(Status::kInvalid,
                  fmt::format("cannot open the trace {}: check the path", options.trace));
    }
    return feed;
  }

  Result<void> Serve(bench::PoolReplay& replay) {
    Progress progress;
    for (std::uint64_t served = 0; limit_ == 0 || served < limit_; ++served) {
      auto request = reader_.Next();
      if (!request) return tl::unexpected(request.error());
      if (!*request) return {};
      auto done = replay.Serve((*request)->timestamp_ms, (*request)->hash_ids);
      if (!done) return done;
      progress.Show(fmt::format("{} requests", served + 1), Fraction(served + 1));
    }
    return {};
  }

  const trace::TraceReader& reader() const { return reader_; }

 private:
  explicit Feed(const ReplayOptions& options)
      : limit_(options.limit),
        file_(TracePath(options), std::ios::binary),
        reader_(file_, options.trace, {.skip_bad_lines = options.skip_bad_lines}) {
    std::error_code error;
    const auto bytes = std::filesystem::file_size(TracePath(options), error);
    if (!error) bytes_ = static_cast<double>(bytes);
  }

  double Fraction(std::uint64_t served) {
    if (limit_ > 0) return static_cast<double>(served) / static_cast<double>(limit_);
    if (bytes_ <= 0) return -1;
    return static_cast<double>(static_cast<std::streamoff>(file_.tellg())) / bytes_;
  }

  const std::uint64_t limit_;
  double bytes_ = 0;  // 0: unknown
  std::ifstream file_;
  trace::TraceReader reader_;
};

std::vector<Row> Rows(const ReplayOptions& options, const Config& config, const Report& report) {
  const std::string trace = std::filesystem::path(options.trace).filename().string();
  const std::string settings =
      fmt::format("replay {} bytes_per_block={} speed={} limit={}\n{}", trace,
                  options.bytes_per_block, options.speed, options.limit, config.ToToml());
  std::vector<Row> rows{Header(settings)};
  const double rate =
      report.get_seconds > 0 ? static_cast<double>(report.bytes_got) / report.get_seconds : 0;
  rows.push_back({{"bench", "replay"},
                  {"case", trace},
                  {"method", "pool"},
                  {"bytes", report.bytes_got},
                  {"seconds", report.seconds},
                  {"bytes_per_s", rate},
                  {"prefix_hit_ratio", report.prefix_hit_ratio()},
                  {"requests", report.requests},
                  {"blocks", report.blocks},
                  {"hit_blocks", report.hit_blocks},
                  {"lost_blocks", report.lost_blocks},
                  {"stored_blocks", report.stored_blocks},
                  {"declined_blocks", report.declined_blocks},
                  {"refused_blocks", report.refused_blocks},
                  {"wrong_bytes", report.wrong_bytes},
                  {"evictions", report.evictions},
                  {"bytes_put", report.bytes_put},
                  {"get_seconds", report.get_seconds},
                  {"get_ms_p50", report.get_ms_p50},
                  {"get_ms_p90", report.get_ms_p90},
                  {"get_ms_p99", report.get_ms_p99},
                  {"get_ms_max", report.get_ms_max},
                  {"late_s_max", report.late_s_max}});
  for (const Report::Device& device : report.devices) {
    rows.push_back({{"bench", "replay-device"},
                    {"case", trace},
                    {"method", device.name},
                    {"bytes", device.bytes_read},
                    {"bytes_written", device.bytes_written}});
  }
  return rows;
}

void Print(const Report& report, std::FILE* out) {
  fmt::print(out,
             "{} requests in {:.1f} s: {} of {} blocks were hits in a leading run ({:.4f})\n"
             "got {}, put {}, {} evictions, {} blocks declined, {} not stored, {} lost before they "
             "were read\n"
             "time of a retrieval: p50 {:.2f} ms, p90 {:.2f} ms, p99 {:.2f} ms, longest {:.2f} ms\n"
             "wrong bytes: {}\n",
             report.requests, report.seconds, report.hit_blocks, report.blocks,
             report.prefix_hit_ratio(), FormatBytes(report.bytes_got),
             FormatBytes(report.bytes_put), report.evictions, report.declined_blocks,
             report.refused_blocks, report.lost_blocks, report.get_ms_p50, report.get_ms_p90,
             report.get_ms_p99, report.get_ms_max, report.wrong_bytes);
  if (report.late_s_max > 0.1) {
    fmt::print(out, "at its worst {:.1f} s behind the trace's clock\n", report.late_s_max);
  }
  std::uint64_t read = 0;
  for (const Report::Device& device : report.devices) read += device.bytes_read;
  Table table({"device", "read", "share", "written"});
  for (const Report::Device& device : report.devices) {
    const double share =
        read == 0 ? 0 : 100.0 * static_cast<double>(device.bytes_read) / static_cast<double>(read);
    table.Add({device.name, FormatBytes(device.bytes_read), fmt::format("{:.1f} %", share),
               FormatBytes(device.bytes_written)});
  }
  table.Print(out);
}

}  // namespace

Result<void> ReplayOnPool(const ReplayOptions& options) {
  const Result<Config> config = LoadPoolFile(options.pool);
  if (!config) return tl::unexpected(config.error());
  std::vector<NamedFile> inputs = FilesOf(options.pool, *config);
  inputs.push_back({"the trace", TracePath(options)});
  if (auto writable = CheckOutputs({{"--json", options.json}}, inputs); !writable) return writable;
  auto feed = Feed::Open(options);
  if (!feed) return tl::unexpected(feed.error());
  auto pool = OpenPool(*config);
  if (!pool) return tl::unexpected(pool.error());
  auto replay = bench::PoolReplay::Open(
      **pool, {.bytes_per_block = options.bytes_per_block, .speed = options.speed});
  if (!replay) return tl::unexpected(replay.error());
  if (auto served = (*feed)->Serve(**replay); !served) return served;
  TellSkipped((*feed)->reader().lines_skipped(), (*feed)->reader().first_skipped());
  const Report report = (*replay)->Report();
  if (report.requests == 0) return NoRequest(options);
  Print(report, PeopleStream(options.json));
  auto written = WriteRows(options.json, Rows(options, *config, report));
  if (!written || report.wrong_bytes == 0) return written;
  return Fail(Status::kCorrupt,
              fmt::format("{} bytes came back wrong: this must not happen; keep the pool file and "
                          "run `kvpool check`",
                          report.wrong_bytes));
}

}  // namespace kvpool::cli

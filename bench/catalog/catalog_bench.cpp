// catalog_bench: what SQLite and LMDB cost as the catalog of a large pool, on the same rows.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "bench/catalog/lmdb_catalog.h"
#include "bench/catalog/rows.h"
#include "catalog/catalog.h"

namespace kvpool::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kPoolId = 1;
constexpr std::uint64_t kMapBytes = std::uint64_t{16} << 30;

struct Options {
  std::uint64_t rows = 1'000'000;
  std::uint64_t batch = 10'000;
  fs::path folder = ".";
  std::string json;
};

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

[[noreturn]] void Die(const std::string& message) {
  fmt::print(stderr, "catalog_bench: {}\n", message);
  std::exit(1);
}

template <class T>
T Must(Result<T> result) {
  if (!result) Die(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

class Report {
 public:
  explicit Report(const std::string& path) {
    if (!path.empty()) json_.open(path);
  }
  void Row(const char* store, const std::string& what, double value, const char* unit) {
    fmt::print("{:<8} {:<52} {:>12.2f} {}\n", store, what, value, unit);
    std::fflush(stdout);
    if (!json_.is_open()) return;
    json_ << nlohmann::json{{"bench", "catalog"},
                            {"method", store},
                            {"case", what},
                            {"value", value},
                            {"unit", unit}}
                 .dump()
          << std::endl;
  }

 private:
  std::ofstream json_;
};

// One store under measurement: how it is opened, and which files it has.
struct Subject {
  const char* name;
  fs::path path;
  std::function<std::unique_ptr<catalog::Catalog>()> open;
  std::vector<std::string> suffixes;
};

std::uint64_t BytesOnDisk(const Subject& subject) {
  std::uint64_t bytes = 0;
  for (const std::string& suffix : subject.suffixes) {
    struct stat stat{};
    if (::stat((subject.path.string() + suffix).c_str(), &stat) == 0) {
      bytes += static_cast<std::uint64_t>(stat.st_blocks) * 512;
    }
  }
  return bytes;
}

// So that the next opening reads the disk.
void Forget(const Subject& subject) {
  for (const std::string& suffix : subject.suffixes) {
    const int fd = open((subject.path.string() + suffix).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    fsync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
  }
}

void Remove(const Subject& subject) {
  std::error_code ignored;
  for (const std::string& suffix : subject.suffixes) {
    fs::remove(subject.path.string() + suffix, ignored);
  }
}

// Seconds of Apply alone; the rows are made outside the clock.
double Write(catalog::Catalog& store, const RowShape& shape, std::uint64_t begin, std::uint64_t end,
             std::uint64_t batch, std::uint64_t remove_behind) {
  double seconds = 0;
  for (std::uint64_t at = begin; at < end; at += batch) {
    auto changes = Additions(shape, at, std::min(at + batch, end));
    if (remove_behind != 0) {
      const std::size_t added = changes.size();
      for (std::size_t i = 0; i < added; ++i) {
        catalog::Change gone{catalog::Change::Kind::kRemove, {}};
        gone.row.generation = changes[i].row.generation - remove_behind;
        changes.push_back(std::move(gone));
      }
    }
    const auto before = Clock::now();
    Must(store.Apply(changes));
    seconds += SecondsSince(before);
  }
  return seconds;
}

double Load(const Subject& subject, std::uint64_t expected) {
  const auto before = Clock::now();
  const auto store = subject.open();
  std::uint64_t rows = 0;
  std::uint64_t units = 0;
  Must(store->Load([&](catalog::BlockRow&& row) {
    ++rows;
    units += row.units.size();
  }));
  const double seconds = SecondsSince(before);
  if (rows != expected || units == 0) {
    Die(fmt::format("{}: {} rows came back, not {}", subject.name, rows, expected));
  }
  return seconds;
}

void Measure(const Options& options, const Subject& subject, Report& report) {
  const RowShape shape;
  Remove(subject);
  {
    auto store = subject.open();
    const double seconds = Write(*store, shape, 0, options.rows, options.batch, 0);
    report.Row(subject.name, fmt::format("rows added in batches of {}, durable", options.batch),
               static_cast<double>(options.rows) / seconds, "rows/s");
    std::uint64_t next = options.rows;
    for (const std::uint64_t batch : {10, 100, 1000}) {
      const std::uint64_t rows = batch * 100;
      const double churn = Write(*store, shape, next, next + rows, batch, options.rows);
      next += rows;
      report.Row(subject.name, fmt::format("a batch of {} added and the oldest removed", batch),
                 churn / 100 * 1e3, "ms");
    }
  }
  report.Row(subject.name, "on disk", static_cast<double>(BytesOnDisk(subject)) / 1e6, "MB");
  Forget(subject);
  report.Row(subject.name, "open and load all rows, from the disk", Load(subject, options.rows),
             "s");
  report.Row(subject.name, "open and load all rows, in the page cache", Load(subject, options.rows),
             "s");
  Remove(subject);
}

Subject Sqlite(const fs::path& folder) {
  const fs::path path = folder / "catalog_bench.sqlite";
  return {"sqlite",
          path,
          [path] {
            std::error_code ignored;
            const bool fresh = !fs::exists(path, ignored);
            if (fresh) Must(catalog::Catalog::Create(path, kPoolId));
            auto store = Must(catalog::Catalog::Open(path, kPoolId));
            if (fresh) Must(store->SpaceId({.model = "bench"}));
            return store;
          },
          {"", "-wal", "-shm"}};
}

#ifdef KVPOOL_LMDB
Subject Lmdb(const fs::path& folder) {
  const fs::path path = folder / "catalog_bench.lmdb";
  return {"lmdb", path, [path] { return Must(OpenLmdb(path, kMapBytes)); }, {"", "-lock"}};
}
#endif

}  // namespace
}  // namespace kvpool::bench

int main(int argc, char** argv) {
  kvpool::bench::Options options;
  CLI::App app{"What SQLite and LMDB cost as the catalog of a large pool, on the same rows."};
  app.add_option("--rows", options.rows, "Rows in the catalog")->capture_default_str();
  app.add_option("--batch", options.batch, "Rows a transaction, to fill it")->capture_default_str();
  app.add_option("--dir", options.folder, "Where the files lie")->capture_default_str();
  app.add_option("--json", options.json, "One JSON row a line into this file");
  CLI11_PARSE(app, argc, argv);
  kvpool::bench::Report report(options.json);
  kvpool::bench::Measure(options, kvpool::bench::Sqlite(options.folder), report);
#ifdef KVPOOL_LMDB
  kvpool::bench::Measure(options, kvpool::bench::Lmdb(options.folder), report);
#else
  fmt::print("lmdb     not measured: liblmdb-dev is not installed\n");
#endif
  return 0;
}

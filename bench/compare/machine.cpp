// The header of every JSON result: which sources, settings and machine, and when.
#include <fmt/format.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "base/checksum.h"
#include "bench/compare/bench.h"
#include "bench/compare/commit.h"

namespace kvpool::bench {
namespace {

std::string ProcessorName() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("model name") && !line.starts_with("Model")) continue;
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

std::string Now() {
  const time_t now = time(nullptr);
  tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

}  // namespace

Header MakeHeader(std::string_view settings) {
  utsname system{};
  uname(&system);
  const auto memory = static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                      static_cast<double>(sysconf(_SC_PAGE_SIZE)) / (1 << 30);
  Header header;
  header.commit = KVPOOL_COMMIT;
  header.config_hash = fmt::format("{:016x}", Digest(settings));
  header.machine =
      fmt::format("{}, {} cores, {:.1f} GiB, {} {}", ProcessorName(), sysconf(_SC_NPROCESSORS_ONLN),
                  memory, system.sysname, system.release);
  header.date = Now();
  return header;
}

}  // namespace kvpool::bench

#include "apps/kvpool/results.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "bench/compare/bench.h"

namespace kvpool::cli {

Row Header(std::string_view settings) {
  const bench::Header header = bench::MakeHeader(settings);
  return {{"commit", header.commit},
          {"config_hash", header.config_hash},
          {"machine", header.machine},
          {"date", header.date}};
}

Result<void> WriteRows(const std::string& file, const std::vector<Row>& rows) {
  if (file.empty()) return {};
  std::string text = "[\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    text += "  " + rows[i].dump() + (i + 1 < rows.size() ? ",\n" : "\n");
  }
  return WriteText(file, text + "]\n");
}

Result<void> WriteText(const std::string& file, std::string_view text) {
  const bool to_stdout = file == "-";
  std::FILE* out = to_stdout ? stdout : std::fopen(file.c_str(), "w");
  bool written = out != nullptr && std::fwrite(text.data(), 1, text.size(), out) == text.size();
  if (out != nullptr) written = (to_stdout ? std::fflush(out) : std::fclose(out)) == 0 && written;
  if (written) return {};
  const int number = errno;
  return Fail(number == ENOSPC ? Status::kNoSpace : Status::kInvalid,
              fmt::format("cannot write {} ({}): name a file in a folder that exists and that you "
                          "may write to",
                          file, std::strerror(number)),
              number);
}

}  // namespace kvpool::cli

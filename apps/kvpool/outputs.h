// What a command reads and writes, looked at before it starts: nothing it reads is overwritten, and
// a file that cannot be written is said before the work, not after it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "kvpool/config.h"
#include "kvpool/result.h"

namespace kvpool::cli {

// A file and what the command line or the pool calls it, such as "--json" or "the trace".
struct NamedFile {
  std::string name;
  std::filesystem::path path;  // empty or "-": no file
};

// kInvalid where an output is one of `inputs` or another output, by whichever path, or cannot be
// written. Makes and changes nothing.
Result<void> CheckOutputs(const std::vector<NamedFile>& outputs,
                          const std::vector<NamedFile>& inputs);

// The pool file, the devices and the catalog with what SQLite keeps beside it.
std::vector<NamedFile> FilesOf(const std::filesystem::path& pool_file, const Config& config);

// kInvalid where the path's name is not UTF-8, which neither TOML nor JSON can hold.
Result<void> CheckUtf8(const std::filesystem::path& path);

}  // namespace kvpool::cli

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
  std::filesystem::path path;          // empty or "-": no file
  bool may_replace_pool_file = false;  // an output that is one, and replaces another on purpose
};

// kInvalid where an output is one of `inputs` or another output, by whichever path, cannot be
// written, or is what nobody means to replace by figures: a drive, or a file, a catalog or the pool
// file of any pool. Makes and changes nothing.
Result<void> CheckOutputs(const std::vector<NamedFile>& outputs,
                          const std::vector<NamedFile>& inputs);

// The pool file, the devices and the catalog with what SQLite keeps beside it.
std::vector<NamedFile> FilesOf(const std::filesystem::path& pool_file, const Config& config);

// kInvalid where the pool file names itself as its catalog or as a device.
Result<void> CheckNotItself(const std::filesystem::path& pool_file, const Config& config);

// kInvalid where the path's name is not UTF-8, which neither TOML nor JSON can hold.
Result<void> CheckUtf8(const std::filesystem::path& path);

}  // namespace kvpool::cli

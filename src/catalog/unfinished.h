// Making a catalog whole or not at all, and touching no file of another.
#pragma once

#include <filesystem>
#include <string>

#include "kvpool/result.h"

namespace kvpool::catalog {

// kExists where `path`, or what SQLite would take for its log, is there.
Result<void> CheckVacant(const std::filesystem::path& path);

// The file that becomes the catalog, under a name drawn for it. Gone with the object, and so is
// what was published, until Keep. Threads: one.
class Unfinished {
 public:
  explicit Unfinished(std::filesystem::path becomes) : becomes_(std::move(becomes)) {}
  ~Unfinished();
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;

  Result<void> Make();  // an empty file
  // Gives the file its name, durably, unless something has that name by now.
  Result<void> Publish();
  void Keep() { kept_ = true; }

  const std::string& path() const { return made_; }

 private:
  Result<void> SyncFolder() const;

  const std::filesystem::path becomes_;
  std::string made_;       // empty: not made
  std::string published_;  // empty: not published
  bool kept_ = false;
};

}  // namespace kvpool::catalog

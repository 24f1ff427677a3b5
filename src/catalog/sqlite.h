// The little of SQLite that the catalog needs, with errors as sentences.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "kvpool/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace kvpool::catalog {

// What to do about an errno of a file that cannot be opened or made.
const char* AdviceFor(int system_errno);

// A prepared statement. Bind 1..n, Step until it says no row, Reset. Bound bytes are not copied
// and must stay until Reset. Threads: one. Its Database outlives it.
class Statement {
 public:
  Statement& Bind(int index, std::uint64_t value);
  Statement& Bind(int index, std::span<const std::byte> bytes);
  Statement& Bind(int index, std::string_view bytes);

  Result<bool> Step();  // true: a row
  Result<void> Run();   // Step once, expecting no row, and Reset
  void Reset();

  // Of the current row, from 0; views are valid until the next Step.
  std::uint64_t Integer(int column) const;
  bool IsInteger(int column) const;
  bool IsBlob(int column) const;
  std::span<const std::byte> Blob(int column) const;
  std::string Text(int column) const;

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  std::string path_;
};

// One open file. Threads: one.
class Database {
 public:
  // kNotFound where no file is there and `create` is off, kInvalid where it cannot be opened.
  static Result<Database> Open(const std::filesystem::path& path, bool create);

  Result<void> Execute(const char* sql);
  Result<Statement> Prepare(const char* sql);
  Result<std::uint64_t> Number(const char* sql);  // the first that `sql` answers; 0: no row

  // Takes the whole file into the page cache in large steps, for whoever reads all of it next.
  void ReadAhead() const;

  // Whether its path still names the file that was opened.
  bool IsThere() const;
  const std::string& path() const { return path_; }

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  std::unique_ptr<sqlite3, Close> database_;
  std::string path_;
  std::uint64_t device_ = 0;  // and inode of the file: whose it is, whatever its name
  std::uint64_t inode_ = 0;
};

}  // namespace kvpool::catalog

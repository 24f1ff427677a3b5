#include "catalog/sqlite.h"

#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/check.h"

namespace kvpool::catalog {
namespace {

constexpr const char* kMakeAnew =
    "run `kvpool check --repair`, which says first what it would save and what it would drop";

tl::unexpected<Error> Failure(sqlite3* database, const std::string& path) {
  const int code = sqlite3_errcode(database) & 0xff;
  const int system_errno = sqlite3_system_errno(database);
  const char* said = sqlite3_errmsg(database);
  const auto fail = [&](Status status, const char* what, const char* advice) {
    return Fail(status, fmt::format("{}: {} ({}): {}", path, what, said, advice), system_errno);
  };
  switch (code) {
    case SQLITE_FULL:
      return fail(Status::kNoSpace, "the catalog cannot grow", "free some space on its disk");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return fail(Status::kBusy, "another process has this catalog open",
                  "close the pool there first");
    case SQLITE_NOTADB:
      return fail(Status::kInvalid, "this is not a catalog",
                  "name another file, or run `kvpool check --repair` if it was one");
    case SQLITE_CORRUPT:
      return fail(Status::kCorrupt, "the catalog is damaged", kMakeAnew);
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
      if (system_errno == EMFILE || system_errno == ENFILE) {
        return fail(Status::kNoSpace, "the catalog cannot be opened", AdviceFor(system_errno));
      }
      return fail(
          Status::kInvalid, "the catalog cannot be written",
          AdviceFor(system_errno == 0 && access(path.c_str(), W_OK) != 0 ? errno : system_errno));
    case SQLITE_ERROR:
    case SQLITE_SCHEMA:
      return fail(Status::kCorrupt, "the catalog lacks a table that it should have", kMakeAnew);
    default:
      return fail(Status::kIoError, "the catalog cannot be read or written", "check its disk");
  }
}

}  // namespace

const char* AdviceFor(int system_errno) {
  switch (system_errno) {
    case EMFILE:
    case ENFILE:
      return "raise the limit on open files (ulimit -n)";
    case EACCES:
    case EPERM:
      return "check its permissions: this user must be able to write the file and its folder";
    default:
      return "check that its folder is there and writable";
  }
}

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Statement& Statement::Bind(int index, std::uint64_t value) {
  const int code = sqlite3_bind_int64(statement_.get(), index, static_cast<sqlite3_int64>(value));
  KVPOOL_CHECK(code == SQLITE_OK);
  return *this;
}

Statement& Statement::Bind(int index, std::span<const std::byte> bytes) {
  // A null pointer would bind NULL instead of an empty blob.
  const void* data = bytes.empty() ? static_cast<const void*>("") : bytes.data();
  const int code = sqlite3_bind_blob64(statement_.get(), index, data, bytes.size(), SQLITE_STATIC);
  KVPOOL_CHECK(code == SQLITE_OK);
  return *this;
}

Statement& Statement::Bind(int index, std::string_view bytes) {
  return Bind(index, std::as_bytes(std::span(bytes)));
}

Result<bool> Statement::Step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return Failure(sqlite3_db_handle(statement_.get()), path_);
}

Result<void> Statement::Run() {
  const auto row = Step();
  Reset();
  if (!row) return tl::unexpected(row.error());
  KVPOOL_CHECK(!*row);
  return {};
}

void Statement::Reset() { sqlite3_reset(statement_.get()); }

std::uint64_t Statement::Integer(int column) const {
  return static_cast<std::uint64_t>(sqlite3_column_int64(statement_.get(), column));
}

bool Statement::IsInteger(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_INTEGER;
}

bool Statement::IsBlob(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_BLOB;
}

std::span<const std::byte> Statement::Blob(int column) const {
  const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement_.get(), column));
  return {data, data == nullptr
                    ? 0
                    : static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

std::string Statement::Text(int column) const {
  const auto bytes = Blob(column);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void Database::Close::operator()(sqlite3* database) const { sqlite3_close(database); }

Result<Database> Database::Open(const std::filesystem::path& path, bool create) {
  if (!create && access(path.c_str(), F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR)) {
    return Fail(
        Status::kNotFound,
        fmt::format("{}: there is no catalog: make the pool with `kvpool create`, or, where its "
                    "drives are there, a new catalog with `kvpool check --repair`",
                    path.string()),
        ENOENT);
  }
  sqlite3* handle = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
  const int code = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  Database database;
  database.database_.reset(handle);
  database.path_ = path.string();
  if (handle == nullptr)
    return Fail(Status::kIoError, "no memory for the catalog: free some", ENOMEM);
  if (code != SQLITE_OK) return Failure(handle, database.path_);
  struct stat opened{};
  if (stat(path.c_str(), &opened) == 0) {
    database.device_ = opened.st_dev;
    database.inode_ = opened.st_ino;
  }
  // The file may have been made by anyone.
  sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  return database;
}

bool Database::IsThere() const {
  struct stat now{};
  return stat(path_.c_str(), &now) == 0 && now.st_dev == device_ && now.st_ino == inode_;
}

Result<void> Database::Execute(const char* sql) {
  if (sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
    return Failure(database_.get(), path_);
  }
  return {};
}

Result<Statement> Database::Prepare(const char* sql) {
  sqlite3_stmt* handle = nullptr;
  if (sqlite3_prepare_v3(database_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &handle, nullptr) !=
      SQLITE_OK) {
    return Failure(database_.get(), path_);
  }
  Statement statement;
  statement.statement_.reset(handle);
  statement.path_ = path_;
  return statement;
}

// By SQLite's own descriptor: closing another of the same file would end this process's locks.
void Database::ReadAhead() const {
  constexpr int kStep = 1 << 20;
  sqlite3_file* file = nullptr;
  sqlite3_int64 bytes = 0;
  if (sqlite3_file_control(database_.get(), "main", SQLITE_FCNTL_FILE_POINTER, &file) !=
          SQLITE_OK ||
      file->pMethods == nullptr || file->pMethods->xFileSize(file, &bytes) != SQLITE_OK) {
    return;
  }
  std::vector<std::byte> step(kStep);
  for (sqlite3_int64 at = 0; at + kStep <= bytes; at += kStep) {
    if (file->pMethods->xRead(file, step.data(), kStep, at) != SQLITE_OK) return;
  }
}

Result<std::uint64_t> Database::Number(const char* sql) {
  auto statement = Prepare(sql);
  if (!statement) return tl::unexpected(statement.error());
  const auto row = statement->Step();
  if (!row) return tl::unexpected(row.error());
  if (!*row) return 0;
  if (statement->IsInteger(0)) return statement->Integer(0);
  return Fail(Status::kCorrupt,
              fmt::format("{}: the catalog is damaged (a number is none): {}", path_, kMakeAnew));
}

}  // namespace kvpool::catalog

// Result<T>: a value, or a status with one sentence a stranger can act on. For opening, configuring
// and recovering; the I/O path uses plain Status.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "kvpool/status.h"

namespace kvpool {

struct Error {
  Status status = Status::kInvalid;
  int system_errno = 0;  // 0 where no system call was at fault
  std::string message;   // one sentence: what is wrong, and what to do about it
};

template <class T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> Fail(Status status, std::string message, int system_errno = 0) {
  return tl::unexpected<Error>(Error{status, system_errno, std::move(message)});
}

}  // namespace kvpool

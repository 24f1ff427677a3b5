// Status: what became of one key, one I/O or one request.
#pragma once

#include <cstdint>
#include <string_view>

namespace kvpool {

// One byte, so that a request can carry one per key. Methods list the values they can return.
enum class Status : std::uint8_t {
  kOk = 0,
  kNotFound,     // absent, evicted, or stored bytes that could not be brought back intact
  kExists,       // a put of a key that is already stored; the stored bytes stay (put-if-absent)
  kNoSpace,      // no room, even after evicting what may go
  kInvalid,      // the request breaks a documented limit; nothing was done
  kBusy,         // too much in flight; submit again after Poll has returned something
  kTimedOut,     // the deadline passed
  kCancelled,    // the pool or the channel is closing
  kIoError,      // a device failed a read, write or flush
  kCorrupt,      // bytes are not the ones that were stored
  kUnsupported,  // this machine, kernel or build cannot do it
  kDeclined,   // not stored, by the pool's admission policy: no error, and a later put may be taken
  kForbidden,  // the space is another tenant's, which may be read and not changed
};

constexpr std::string_view ToString(Status status) {
  switch (status) {
    case Status::kOk:
      return "ok";
    case Status::kNotFound:
      return "not found";
    case Status::kExists:
      return "exists";
    case Status::kNoSpace:
      return "no space";
    case Status::kInvalid:
      return "invalid";
    case Status::kBusy:
      return "busy";
    case Status::kTimedOut:
      return "timed out";
    case Status::kCancelled:
      return "cancelled";
    case Status::kIoError:
      return "I/O error";
    case Status::kCorrupt:
      return "corrupt";
    case Status::kUnsupported:
      return "unsupported";
    case Status::kDeclined:
      return "declined";
    case Status::kForbidden:
      return "forbidden";
  }
  return "unknown status";
}

}  // namespace kvpool

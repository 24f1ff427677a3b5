// Making a raw drive empty, so that a pool can be created on it.
#pragma once

#include <string>

#include "device/raw_drive.h"

namespace kvpool::device {

struct FormatOptions {
  // What carries something is only wiped when told twice: `force`, and `confirm` naming the drive's
  // serial number, or where it has none its node: the path behind all symbolic links, for a link
  // that moved would confirm itself.
  bool force = false;
  std::string confirm;
};

struct FormatReport {
  RawDriveFacts facts;
  std::string node;        // facts.where behind all symbolic links
  std::string carried;     // what was wiped; empty: nothing was found
  bool discarded = false;  // the drive was told that it need not keep its content
};

// "Making a drive ready" in docs/formats/label.md. `drive` is held. kExists: it carries something;
// kInvalid: another drive than the one that was confirmed; kNoSpace: too small for a pool;
// kIoError.
Result<FormatReport> FormatDrive(RawDrive& drive, const FormatOptions& options);

}  // namespace kvpool::device

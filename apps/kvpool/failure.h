// What becomes of an exception that nobody caught: one sentence, no temporary files, exit code 1.
#pragma once

#include <exception>
#include <string>

namespace kvpool::cli {

// Names what ran out and the option or limit to change.
std::string Describe(const std::exception_ptr& failure);

// From now on an exception that leaves any thread, or is thrown while another unwinds, ends the
// process so instead of dumping core. A write past a file's limit or to a closed pipe is an error
// of that write and not the end of the process. Call once, first.
void CatchFailures();

}  // namespace kvpool::cli

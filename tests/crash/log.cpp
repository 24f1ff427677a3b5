#include "tests/crash/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace kvpool::crash {
namespace {

void Apply(const std::string& line, History& history) {
  std::istringstream words(line);
  std::string event;
  std::string key;
  words >> event >> key;
  if (event == "M") {
    history.tight = key == "tight";
    return;
  }
  if (event == "T") {
    history.end_ms = std::max<std::int64_t>(history.end_ms, std::atoll(key.c_str()));
    return;
  }
  KeyState& state = history.keys[key];
  if (event == "A") {
    words >> state.floor >> state.last;
  } else if (event == "W") {
    words >> state.visible;
    state.from_before = state.durable = true;
  } else if (event == "P") {
    words >> state.last;
  } else if (event == "V") {
    words >> state.visible >> state.visible_ms;
    state.from_before = state.durable = false;
    history.end_ms = std::max(history.end_ms, state.visible_ms);
  } else if (event == "D") {
    words >> state.floor;
    state.durable = true;
  } else if (event == "X") {
    state.visible = 0;
    state.durable = false;
  } else if (event == "H" || event == "R") {
    state.held = event == "H";
  }
}

}  // namespace

std::int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Log::Log(const std::string& path)
    : fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
  if (fd_ >= 0) return;
  std::perror(path.c_str());
  std::exit(2);
}

Log::~Log() { close(fd_); }

void Log::Write(const std::string& lines) {
  if (write(fd_, lines.data(), lines.size()) == static_cast<ssize_t>(lines.size())) return;
  std::perror("the log cannot be written");
  std::_Exit(2);
}

History ReadLog(const std::string& path) {
  History history;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (file.eof()) break;  // cut off: no end of line
    Apply(line, history);
  }
  return history;
}

}  // namespace kvpool::crash

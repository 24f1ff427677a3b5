// Small files of sysfs, and of trees that tests make like it.
#pragma once

#include <charconv>
#include <filesystem>
#include <fstream>
#include <string>

namespace kvpool::device {

// The first line without blanks at its end; empty where there is none.
inline std::string ReadLine(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  line.erase(line.find_last_not_of(" \n") + 1);
  return line;
}

template <class Number>
Number ReadNumber(const std::filesystem::path& file, Number otherwise) {
  const std::string line = ReadLine(file);
  Number number = otherwise;
  std::from_chars(line.data(), line.data() + line.size(), number);
  return number;
}

}  // namespace kvpool::device

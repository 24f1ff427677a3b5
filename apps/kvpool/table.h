// Figures for people: a table with aligned columns.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

namespace kvpool::cli {

// Where figures for people go: standard output, or stderr where the JSON takes that.
std::FILE* PeopleStream(const std::string& json_file);

class Table {
 public:
  explicit Table(std::vector<std::string> titles);
  // As many cells as titles.
  void Add(std::vector<std::string> cells);
  void Print(std::FILE* out) const;

 private:
  std::vector<std::vector<std::string>> lines_;
};

}  // namespace kvpool::cli

// What libllama would be to kvpool, over a toy model: every token's state hashes what it can see,
// so one wrong or missing cell changes all that is computed from it. Tests load it as they would
// libllama, with dlopen or ctypes.
#include "llama/fake_llama.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <set>
#include <vector>

namespace {

constexpr std::uint32_t kMagic = 0xaf143cd8;
constexpr int kRow = 64;  // numbers a cell: a row of KV

struct Cell {
  std::int32_t pos = -1;
  std::uint64_t row[kRow] = {};
  std::set<std::int32_t> sequences = {};
};

// The cells of full attention, or of sliding layers.
class Cache {
 public:
  Cache(std::size_t room, int window) : room_(room), window_(window) {}

  std::vector<const Cell*> Of(int sequence) const {
    std::vector<const Cell*> found;
    for (const Cell& cell : cells_) {
      if (cell.sequences.count(sequence)) found.push_back(&cell);
    }
    std::sort(found.begin(), found.end(), [](auto* a, auto* b) { return a->pos < b->pos; });
    return found;
  }

  bool HasRoom(std::size_t count) const { return cells_.size() + count <= room_; }
  void Add(Cell cell) { cells_.push_back(std::move(cell)); }

  void Share(int from, int to, int begin, int end) {
    for (Cell& cell : cells_) {
      if (cell.pos >= begin && cell.pos < end && cell.sequences.count(from)) {
        cell.sequences.insert(to);
      }
    }
  }

  void Remove(int sequence, int begin, int end) {
    for (Cell& cell : cells_) {
      if (cell.pos >= begin && cell.pos < end) cell.sequences.erase(sequence);
    }
    std::erase_if(cells_, [](const Cell& cell) { return cell.sequences.empty(); });
  }

  // As llama.cpp writes a sequence: without what a token behind its end no longer sees.
  void Write(int sequence, std::vector<std::uint8_t>& out) const {
    std::vector<const Cell*> cells = Of(sequence);
    if (window_ > 0) {
      std::erase_if(cells, [&, last = cells.empty() ? 0 : cells.back()->pos](const Cell* cell) {
        return last - cell->pos >= window_;
      });
    }
    const auto put = [&out](const void* data, std::size_t bytes) {
      const auto* begin = static_cast<const std::uint8_t*>(data);
      out.insert(out.end(), begin, begin + bytes);
    };
    const auto count = static_cast<std::uint32_t>(cells.size());
    put(&count, sizeof(count));
    for (const Cell* cell : cells) {
      put(&cell->pos, sizeof(cell->pos));
      put(cell->row, sizeof(cell->row));
    }
  }

  // False where the bytes are too few or there is no room.
  bool Read(int sequence, const std::uint8_t*& from, const std::uint8_t* end) {
    const auto take = [&](void* data, std::size_t bytes) {
      if (static_cast<std::size_t>(end - from) < bytes) return false;
      std::memcpy(data, from, bytes);
      from += bytes;
      return true;
    };
    std::uint32_t count = 0;
    if (!take(&count, sizeof(count)) || !HasRoom(count)) return false;
    for (std::uint32_t i = 0; i < count; ++i) {
      Cell cell;
      if (!take(&cell.pos, sizeof(cell.pos)) || !take(cell.row, sizeof(cell.row))) return false;
      cell.sequences = {sequence};
      Add(std::move(cell));
    }
    return true;
  }

 private:
  std::size_t room_;
  int window_;
  std::vector<Cell> cells_;
};

std::uint64_t Mix(std::uint64_t a, std::uint64_t b) {
  a ^= b + 0x9e3779b97f4a7c15 + (a << 6) + (a >> 2);
  a ^= a >> 31;
  return a * 0xbf58476d1ce4e5b9;
}

}  // namespace

struct llama_context {
  explicit llama_context(const FakeLlama& of)
      : options(of), full(of.n_ctx, 0), sliding(of.n_ctx, of.window) {}

  const Cache& Last() const { return options.window > 0 ? sliding : full; }

  std::vector<std::uint8_t> State(int sequence) const {
    std::vector<std::uint8_t> out(8);
    std::memcpy(out.data(), &kMagic, sizeof(kMagic));
    std::memcpy(out.data() + 4, &sequence, sizeof(sequence));
    full.Write(sequence, out);
    if (options.window > 0) sliding.Write(sequence, out);
    return out;
  }

  FakeLlama options;
  Cache full;
  Cache sliding;
};

llama_context* fake_llama_new(const FakeLlama* options) { return new llama_context(*options); }
void fake_llama_free(llama_context* context) { delete context; }

std::uint64_t fake_llama_decode(llama_context* context, std::int32_t sequence, std::int32_t token) {
  if (!context->full.HasRoom(1)) return 0;
  const auto seen = context->full.Of(sequence);
  const std::int32_t pos = seen.empty() ? 0 : seen.back()->pos + 1;
  std::uint64_t state = Mix(context->options.seed, static_cast<std::uint64_t>(token));
  for (const Cell* cell : seen) state = Mix(state, Mix(cell->row[kRow - 1], cell->pos));
  const int window = context->options.window;
  for (const Cell* cell : context->sliding.Of(sequence)) {
    if (pos - cell->pos < window) state = Mix(state, Mix(cell->row[kRow - 1] + 1, cell->pos));
  }
  Cell cell{.pos = pos, .sequences = {sequence}};
  for (int i = 0; i < kRow; ++i) cell.row[i] = state + i;
  if (window > 0) {
    context->sliding.Add(cell);
    if (!context->options.keeps_all) {
      context->sliding.Remove(sequence, 0, pos - window + 1);
    }
  }
  context->full.Add(cell);
  return state;
}

// --- the part of llama.h that kvpool uses ---

llama_context* llama_get_memory(llama_context* context) {
  return context->options.has_memory ? context : nullptr;
}
llama_context* llama_get_model(llama_context* context) { return context; }
std::uint32_t llama_n_ctx(const llama_context* context) { return context->options.n_ctx; }
std::uint32_t llama_n_ctx_seq(const llama_context* context) {
  const FakeLlama& options = context->options;
  return options.is_unified ? options.n_ctx : options.n_ctx / options.n_seq_max;
}
std::uint32_t llama_n_seq_max(const llama_context* context) { return context->options.n_seq_max; }
std::int32_t llama_model_n_swa(const llama_context* model) { return model->options.window; }
bool llama_model_is_recurrent(const llama_context* model) { return model->options.is_recurrent; }
bool llama_model_is_hybrid(const llama_context*) { return false; }

void llama_memory_seq_cp(llama_context* memory, std::int32_t from, std::int32_t to,
                         std::int32_t begin, std::int32_t end) {
  if (end < 0) end = INT32_MAX;
  memory->full.Share(from, to, begin, end);
  memory->sliding.Share(from, to, begin, end);
}

bool llama_memory_seq_rm(llama_context* memory, std::int32_t sequence, std::int32_t begin,
                         std::int32_t end) {
  if (end < 0) end = INT32_MAX;
  memory->full.Remove(sequence, begin, end);
  memory->sliding.Remove(sequence, begin, end);
  return true;
}

std::int32_t llama_memory_seq_pos_min(llama_context* memory, std::int32_t sequence) {
  const auto cells = memory->Last().Of(sequence);
  return cells.empty() ? -1 : cells.front()->pos;
}

std::int32_t llama_memory_seq_pos_max(llama_context* memory, std::int32_t sequence) {
  const auto cells = memory->Last().Of(sequence);
  return cells.empty() ? -1 : cells.back()->pos;
}

std::size_t llama_state_seq_get_size_ext(llama_context* context, std::int32_t sequence,
                                         std::uint32_t) {
  return context->State(sequence).size();
}

std::size_t llama_state_seq_get_data_ext(llama_context* context, std::uint8_t* to,
                                         std::size_t bytes, std::int32_t sequence, std::uint32_t) {
  const std::vector<std::uint8_t> state = context->State(sequence);
  if (state.size() > bytes) return 0;
  std::memcpy(to, state.data(), state.size());
  return state.size();
}

std::size_t llama_state_seq_set_data_ext(llama_context* context, const std::uint8_t* from,
                                         std::size_t bytes, std::int32_t sequence, std::uint32_t) {
  const std::uint8_t* at = from + 8;
  const std::uint8_t* const end = from + bytes;
  if (bytes < 8 || std::memcmp(from, &kMagic, sizeof(kMagic)) != 0) return 0;
  llama_memory_seq_rm(context, sequence, 0, -1);
  if (!context->full.Read(sequence, at, end) ||
      (context->options.window > 0 && !context->sliding.Read(sequence, at, end))) {
    llama_memory_seq_rm(context, sequence, 0, -1);
    return 0;
  }
  return at - from;
}

std::size_t llama_state_seq_save_file(llama_context* context, const char* path,
                                      std::int32_t sequence, const std::int32_t*, std::size_t) {
  std::FILE* file = std::fopen(path, "wb");
  if (file == nullptr) return 0;
  const std::uint32_t head[] = {0x67677371, context->options.state_version, 0};
  const std::vector<std::uint8_t> state = context->State(sequence);
  std::fwrite(head, sizeof(head), 1, file);
  std::fwrite(state.data(), state.size(), 1, file);
  std::fclose(file);
  return sizeof(head) + state.size();
}

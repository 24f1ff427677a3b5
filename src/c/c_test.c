/* The C face from C: what a user's program does, and what it gets wrong. With an argument, the pool
 * file of a daemon that runs, the same through that. */
#define _XOPEN_SOURCE 700
#include <kvpool/kvpool.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { kBlocks = 5, kBytes = 70001 };

static int failures = 0;

#define EXPECT(condition)                                             \
  do {                                                                \
    if (!(condition)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      ++failures;                                                     \
    }                                                                 \
  } while (0)

struct bed {
  char folder[64]; /* empty: a daemon has the pool */
  char file[96];
  kvpool_pool* pool;
  kvpool_channel* channel;
  kvpool_space space;
  kvpool_key keys[kBlocks];
  char names[kBlocks][16];
  kvpool_segment from[2 * kBlocks]; /* two a block */
  kvpool_segment into[2 * kBlocks];
  unsigned char stored[kBlocks][kBytes];
  unsigned char read[kBlocks][kBytes];
};

static void write_pool_file(struct bed* bed) {
  FILE* file;
  strcpy(bed->folder, "/tmp/kvpool-c-XXXXXX");
  if (mkdtemp(bed->folder) == NULL) exit(1);
  snprintf(bed->file, sizeof bed->file, "%s/pool.toml", bed->folder);
  file = fopen(bed->file, "w");
  if (file == NULL) exit(1);
  fputs(
      "[pool]\nversion = 1\ncatalog = \"catalog.db\"\n\n"
      "[[device]]\nname = \"ram\"\nkind = \"memory\"\ncapacity = \"16MiB\"\n"
      "read_bandwidth = \"2GB/s\"\nwrite_bandwidth = \"2GB/s\"\n\n"
      "[[device]]\nname = \"ssd\"\nkind = \"file\"\npath = \"ssd\"\ncapacity = \"16MiB\"\n"
      "accept_buffered = true\nread_bandwidth = \"1GB/s\"\nwrite_bandwidth = \"1GB/s\"\n",
      file);
  fclose(file);
}

/* Without a catalog, beside the other one; all blocks take a third of a second. */
static void write_slow_pool_file(const struct bed* bed, char* path, size_t bytes) {
  FILE* file;
  snprintf(path, bytes, "%s/slow.toml", bed->folder);
  file = fopen(path, "w");
  if (file == NULL) exit(1);
  fputs(
      "[pool]\nversion = 1\n\n"
      "[[device]]\nname = \"ram\"\nkind = \"memory\"\ncapacity = \"16MiB\"\n"
      "read_bandwidth = \"1MB/s\"\nwrite_bandwidth = \"1MB/s\"\n"
      "slow = { bandwidth = \"1MB/s\" }\n",
      file);
  fclose(file);
}

/* Without a catalog; the null GPU's memory is this process' own. */
static void write_gpu_pool_file(const struct bed* bed, char* path, size_t bytes) {
  FILE* file;
  snprintf(path, bytes, "%s/gpu.toml", bed->folder);
  file = fopen(path, "w");
  if (file == NULL) exit(1);
  fputs(
      "[pool]\nversion = 1\n\n"
      "[[device]]\nname = \"ram\"\nkind = \"memory\"\ncapacity = \"16MiB\"\n"
      "read_bandwidth = \"2GB/s\"\nwrite_bandwidth = \"2GB/s\"\n\n"
      "[[gpu]]\nname = \"toy\"\nkind = \"null\"\nbandwidth = \"2GB/s\"\n",
      file);
  fclose(file);
}

static void remove_files(const struct bed* bed) {
  char command[128];
  snprintf(command, sizeof command, "rm -r '%s'", bed->folder);
  if (system(command) != 0) ++failures;
}

static void make_blocks(struct bed* bed) {
  int block, byte;
  for (block = 0; block < kBlocks; ++block) {
    snprintf(bed->names[block], sizeof bed->names[block], "block %d", block);
    bed->keys[block].data = bed->names[block];
    bed->keys[block].bytes = strlen(bed->names[block]);
    for (byte = 0; byte < kBytes; ++byte) {
      bed->stored[block][byte] = (unsigned char)(byte * 31 + block * 7 + byte / 251);
    }
    bed->from[2 * block].data = bed->stored[block];
    bed->from[2 * block].bytes = 4099;
    bed->from[2 * block + 1].data = bed->stored[block] + 4099;
    bed->from[2 * block + 1].bytes = kBytes - 4099;
    bed->into[2 * block].data = bed->read[block];
    bed->into[2 * block].bytes = 12345;
    bed->into[2 * block + 1].data = bed->read[block] + 12345;
    bed->into[2 * block + 1].bytes = kBytes - 12345;
  }
}

static kvpool_request request_of(struct bed* bed, const kvpool_segment* segments, void* user) {
  kvpool_request request = {0};
  request.space = bed->space;
  request.keys = bed->keys;
  request.key_count = kBlocks;
  request.segments = segments;
  request.segment_count = segments == NULL ? 0 : 2 * kBlocks;
  request.deadline_ms = -1;
  request.user = user;
  return request;
}

/* Waits on the eventfd, as an event loop does; then there is one completion, and no more. */
static kvpool_completion complete(kvpool_channel* channel, uint64_t id) {
  kvpool_completion done = {0};
  struct pollfd event = {0};
  event.fd = kvpool_event_fd(channel);
  event.events = POLLIN;
  EXPECT(poll(&event, 1, 60000) == 1);
  EXPECT(kvpool_wait(channel, 0) == 1);
  EXPECT(kvpool_poll(channel, &done, 1) == 1);
  EXPECT(done.id == id);
  EXPECT(poll(&event, 1, 0) == 0);
  return done;
}

static void expect_all(const kvpool_completion* done, kvpool_status status) {
  size_t i;
  EXPECT(done->result_count == kBlocks);
  for (i = 0; i < done->result_count; ++i) EXPECT(done->results[i] == status);
}

static void test_round_trip(struct bed* bed) {
  kvpool_request put = request_of(bed, bed->from, bed);
  kvpool_request get = request_of(bed, bed->into, NULL);
  kvpool_put_options options = {0};
  kvpool_completion done;
  uint8_t present[kBlocks];
  uint64_t id = 0;
  int block;
  EXPECT(kvpool_match(bed->pool, bed->space, bed->keys, kBlocks) == 0);
  EXPECT(kvpool_submit_put(bed->channel, &put, &options, &id) == KVPOOL_OK);
  done = complete(bed->channel, id);
  expect_all(&done, KVPOOL_OK);
  EXPECT(done.user == bed);
  EXPECT(done.block_bytes == NULL);
  EXPECT(kvpool_match(bed->pool, bed->space, bed->keys, kBlocks) == kBlocks);
  EXPECT(kvpool_contains(bed->pool, bed->space, bed->keys, kBlocks, present, NULL) == KVPOOL_OK);
  for (block = 0; block < kBlocks; ++block) EXPECT(present[block] == 1);
  EXPECT(kvpool_submit_put(bed->channel, &put, NULL, &id) == KVPOOL_OK);
  done = complete(bed->channel, id);
  expect_all(&done, KVPOOL_EXISTS);
  EXPECT(kvpool_submit_get(bed->channel, &get, 0, &id) == KVPOOL_OK);
  done = complete(bed->channel, id);
  expect_all(&done, KVPOOL_OK);
  EXPECT(done.layers_ready == 2);
  for (block = 0; block < kBlocks; ++block) EXPECT(done.block_bytes[block] == kBytes);
  EXPECT(memcmp(bed->stored, bed->read, sizeof bed->stored) == 0);
}

static void test_lease(struct bed* bed) {
  kvpool_request get = request_of(bed, bed->into, NULL);
  kvpool_completion done;
  kvpool_segment views[64];
  uint64_t id = 0;
  size_t count, i, at = 0;
  EXPECT(kvpool_submit_get(bed->channel, &get, 1, &id) == KVPOOL_OK);
  done = complete(bed->channel, id);
  expect_all(&done, KVPOOL_OK);
  count = kvpool_views(bed->channel, id, 1, views, 64);
  EXPECT(count >= 1 && count <= 64);
  for (i = 0; i < count && at < kBytes; ++i) {
    EXPECT(memcmp(views[i].data, bed->stored[1] + at, views[i].bytes) == 0);
    at += views[i].bytes;
  }
  EXPECT(at == kBytes);
  kvpool_release(bed->channel, id);
  kvpool_release(bed->channel, id);
  EXPECT(kvpool_views(bed->channel, id, 1, views, 64) == 0);
}

static void test_drop_and_flush(struct bed* bed) {
  kvpool_request drop = request_of(bed, NULL, NULL);
  kvpool_request flush = drop;
  kvpool_request get = request_of(bed, bed->into, NULL);
  kvpool_completion done;
  uint64_t id = 0;
  flush.keys = NULL;
  flush.key_count = 0;
  EXPECT(kvpool_submit_flush(bed->channel, &flush, &id) == KVPOOL_OK);
  done = complete(bed->channel, id);
  EXPECT(done.result_count == 1 && done.results[0] == KVPOOL_OK);
  EXPECT(kvpool_submit_drop(bed->channel, &drop, &id) == KVPOOL_OK);
  done = complete(bed->channel, id);
  expect_all(&done, KVPOOL_OK);
  EXPECT(kvpool_submit_get(bed->channel, &get, 0, &id) == KVPOOL_OK);
  done = complete(bed->channel, id);
  expect_all(&done, KVPOOL_NOT_FOUND);
}

static void test_memory(struct bed* bed) {
  kvpool_memory* memory = NULL;
  kvpool_error error;
  EXPECT(kvpool_allocate(bed->pool, 1 << 21, -1, &memory, &error) == KVPOOL_OK);
  EXPECT(kvpool_memory_bytes(memory) == 1 << 21);
  EXPECT((uintptr_t)kvpool_memory_data(memory) % (1 << 21) == 0);
  memset(kvpool_memory_data(memory), 1, 1 << 21);
  kvpool_free(memory);
  EXPECT(kvpool_allocate(bed->pool, 0, -1, &memory, &error) == KVPOOL_INVALID);
  EXPECT(kvpool_register(bed->pool, bed->read, sizeof bed->read, &memory, &error) == KVPOOL_OK);
  EXPECT(kvpool_memory_data(memory) == bed->read);
  kvpool_free(memory);
  kvpool_free(NULL);
}

static void expect_sentence(const kvpool_error* error, kvpool_status status, const char* words) {
  EXPECT(error->status == status);
  EXPECT(strlen(error->message) > 20);
  if (strstr(error->message, words) == NULL) {
    fprintf(stderr, "\"%s\" does not say \"%s\"\n", error->message, words);
    ++failures;
  }
}

static void test_bad_input(struct bed* bed) {
  kvpool_error error;
  kvpool_pool* pool = NULL;
  kvpool_space space;
  kvpool_space_spec spec = {0};
  kvpool_request put = request_of(bed, bed->from, NULL);
  EXPECT(kvpool_open("/nowhere/pool.toml", 0, &pool, &error) == KVPOOL_IO_ERROR);
  expect_sentence(&error, KVPOOL_IO_ERROR, "/nowhere/pool.toml");
  EXPECT(kvpool_open(NULL, 0, &pool, &error) == KVPOOL_INVALID);
  expect_sentence(&error, KVPOOL_INVALID, "NULL");
  if (bed->folder[0] != '\0') {
    EXPECT(kvpool_open(bed->file, 0, &pool, &error) == KVPOOL_BUSY);
    EXPECT(pool == NULL);
  }
  EXPECT(kvpool_create(bed->file, &error) == KVPOOL_EXISTS);
  EXPECT(kvpool_create(bed->file, NULL) == KVPOOL_EXISTS);
  EXPECT(kvpool_open_space(bed->pool, &spec, &space, &error) == KVPOOL_INVALID);
  expect_sentence(&error, KVPOOL_INVALID, "layers");
  EXPECT(kvpool_close(bed->pool, &error) == KVPOOL_BUSY);
  expect_sentence(&error, KVPOOL_BUSY, "channel");
  put.segment_count = 2 * kBlocks - 1;
  EXPECT(kvpool_submit_put(bed->channel, &put, NULL, NULL) == KVPOOL_INVALID);
  EXPECT(kvpool_submit_put(bed->channel, NULL, NULL, NULL) == KVPOOL_INVALID);
  put.segment_count = 2 * kBlocks;
  put.segments = NULL;
  EXPECT(kvpool_submit_put(bed->channel, &put, NULL, NULL) == KVPOOL_INVALID);
  EXPECT(kvpool_match(bed->pool, bed->space, NULL, 3) == 0);
  EXPECT(kvpool_match(NULL, bed->space, bed->keys, kBlocks) == 0);
  EXPECT(kvpool_wait(bed->channel, 0) == 0);
}

/* Every request comes back once, however few are polled at a time; the one too many is refused. */
static void test_exactly_once(struct bed* bed) {
  kvpool_request drop = request_of(bed, NULL, NULL);
  kvpool_completion done[7];
  int seen[2000] = {0};
  int taken = 0;
  int back = 0;
  size_t i, count;
  uint64_t first = 0;
  uint64_t id = 0;
  while (taken < 2000 && kvpool_submit_drop(bed->channel, &drop, &id) == KVPOOL_OK) {
    if (taken++ == 0) first = id;
  }
  EXPECT(taken == 1024);
  EXPECT(kvpool_submit_drop(bed->channel, &drop, &id) == KVPOOL_BUSY);
  while (back < taken && kvpool_wait(bed->channel, 30000)) {
    while ((count = kvpool_poll(bed->channel, done, 7)) != 0) {
      for (i = 0; i < count; ++i) ++seen[done[i].id - first];
      back += (int)count;
    }
  }
  for (i = 0; i < 2000; ++i) EXPECT(seen[i] == ((int)i < taken ? 1 : 0));
}

static int ends_next(kvpool_channel* channel, uint64_t id) {
  kvpool_completion done = {0};
  EXPECT(kvpool_wait(channel, 60000) == 1);
  return kvpool_poll(channel, &done, 1) == 1 && done.id == id;
}

/* One block, behind gets of all of them, passes these where they are of the background. */
static void test_background(struct bed* bed) {
  char path[128];
  kvpool_pool* pool = NULL;
  kvpool_channel* channel = NULL;
  kvpool_space_spec spec = {0};
  kvpool_request put = request_of(bed, bed->from, NULL);
  kvpool_request all = request_of(bed, bed->into, NULL);
  kvpool_request one = all;
  uint64_t first = 0, second = 0, third = 0;
  int background;
  write_slow_pool_file(bed, path, sizeof path);
  spec.model = "test";
  spec.layers = 1;
  EXPECT(kvpool_open(path, 1, &pool, NULL) == KVPOOL_OK);
  EXPECT(kvpool_open_space(pool, &spec, &put.space, NULL) == KVPOOL_OK);
  EXPECT(kvpool_open_channel(pool, &channel, NULL) == KVPOOL_OK);
  all.space = one.space = put.space;
  one.key_count = 1;
  one.segment_count = 2;
  put.background = 1;
  EXPECT(kvpool_submit_put(channel, &put, NULL, &first) == KVPOOL_OK);
  EXPECT(ends_next(channel, first));
  for (background = 0; background <= 1; ++background) {
    all.background = background;
    EXPECT(kvpool_submit_get(channel, &all, 0, &first) == KVPOOL_OK);
    EXPECT(kvpool_submit_get(channel, &all, 0, &second) == KVPOOL_OK);
    EXPECT(kvpool_submit_get(channel, &one, 0, &third) == KVPOOL_OK);
    EXPECT(ends_next(channel, first) == !background);
    EXPECT(ends_next(channel, background ? first : second));
    EXPECT(ends_next(channel, background ? second : third));
  }
  kvpool_close_channel(channel);
  EXPECT(kvpool_close(pool, NULL) == KVPOOL_OK);
}

/* Where there is no GPU, a request whose segments are on one says so: so the kind is seen. */
static void test_no_gpu(struct bed* bed) {
  kvpool_request put = request_of(bed, bed->from, NULL);
  kvpool_segment segments[2 * kBlocks];
  memcpy(segments, bed->from, sizeof segments);
  put.segments = segments;
  segments[3].kind = KVPOOL_GPU;
  EXPECT(kvpool_submit_put(bed->channel, &put, NULL, NULL) == KVPOOL_UNSUPPORTED);
  EXPECT(kvpool_submit_get(bed->channel, &put, 0, NULL) == KVPOOL_UNSUPPORTED);
  segments[3].kind = (kvpool_memory_kind)2;
  EXPECT(kvpool_submit_put(bed->channel, &put, NULL, NULL) == KVPOOL_INVALID);
}

static void test_gpu(struct bed* bed) {
  char path[128];
  kvpool_pool* pool = NULL;
  kvpool_channel* channel = NULL;
  kvpool_space_spec spec = {0};
  kvpool_segment from[2 * kBlocks], into[2 * kBlocks];
  kvpool_request put = request_of(bed, from, NULL);
  kvpool_request get = request_of(bed, into, NULL);
  kvpool_completion done;
  uint64_t id = 0;
  int i;
  write_gpu_pool_file(bed, path, sizeof path);
  memcpy(from, bed->from, sizeof from);
  memcpy(into, bed->into, sizeof into);
  for (i = 0; i < 2 * kBlocks; ++i) from[i].kind = into[i].kind = KVPOOL_GPU;
  memset(bed->read, 0, sizeof bed->read);
  spec.model = "test";
  spec.layers = 2;
  EXPECT(kvpool_open(path, 1, &pool, NULL) == KVPOOL_OK);
  EXPECT(kvpool_open_space(pool, &spec, &put.space, NULL) == KVPOOL_OK);
  EXPECT(kvpool_open_channel(pool, &channel, NULL) == KVPOOL_OK);
  get.space = put.space;
  EXPECT(kvpool_submit_put(channel, &put, NULL, &id) == KVPOOL_OK);
  done = complete(channel, id);
  expect_all(&done, KVPOOL_OK);
  EXPECT(kvpool_submit_get(channel, &get, 1, &id) == KVPOOL_INVALID); /* a lease is of the host */
  into[1].kind = KVPOOL_HOST;                                         /* some may be */
  EXPECT(kvpool_submit_get(channel, &get, 0, &id) == KVPOOL_OK);
  done = complete(channel, id);
  expect_all(&done, KVPOOL_OK);
  EXPECT(done.layers_ready == 2);
  EXPECT(memcmp(bed->stored, bed->read, sizeof bed->stored) == 0);
  kvpool_close_channel(channel);
  EXPECT(kvpool_close(pool, NULL) == KVPOOL_OK);
}

int main(int argc, char** argv) {
  struct bed* bed = calloc(1, sizeof *bed);
  kvpool_error error = {0};
  kvpool_space_spec spec = {0};
  kvpool_request put;
  if (bed == NULL) return 1;
  if (argc > 1) {
    snprintf(bed->file, sizeof bed->file, "%s", argv[1]);
  } else {
    write_pool_file(bed);
  }
  make_blocks(bed);
  spec.model = "test";
  spec.layers = 2;
  EXPECT(strcmp(kvpool_status_text(KVPOOL_NO_SPACE), "no space") == 0);
  EXPECT(strcmp(kvpool_status_text((kvpool_status)256), "unknown status") == 0);
  EXPECT(kvpool_version()[0] != '\0');
  if (kvpool_open(bed->file, 1, &bed->pool, &error) != KVPOOL_OK ||
      kvpool_open_space(bed->pool, &spec, &bed->space, &error) != KVPOOL_OK ||
      kvpool_open_channel(bed->pool, &bed->channel, &error) != KVPOOL_OK) {
    fprintf(stderr, "%s\n", error.message);
    return 1;
  }
  test_round_trip(bed);
  test_lease(bed);
  test_drop_and_flush(bed);
  test_memory(bed);
  test_bad_input(bed);
  test_exactly_once(bed);
  test_no_gpu(bed);
  if (argc == 1) {
    test_background(bed);
    test_gpu(bed);
  }
  put = request_of(bed, bed->from, NULL);
  EXPECT(kvpool_submit_put(bed->channel, &put, NULL, NULL) == KVPOOL_OK);
  kvpool_close_channel(bed->channel); /* with a request in flight */
  kvpool_close_channel(NULL);
  EXPECT(kvpool_close(bed->pool, &error) == KVPOOL_OK);
  EXPECT(kvpool_close(NULL, &error) == KVPOOL_OK);
  if (argc == 1) remove_files(bed);
  free(bed);
  if (failures == 0) puts("the C face keeps its promises");
  return failures == 0 ? 0 : 1;
}

/* Puts a block into a pool and brings it back. cc embed.c $(pkg-config --cflags --libs kvpool) */
#include <kvpool/kvpool.h>
#include <stdio.h>
#include <string.h>

/* An engine would poll between its own steps, or wait on kvpool_event_fd. */
static kvpool_status complete(kvpool_channel* channel) {
  kvpool_completion done;
  while (kvpool_poll(channel, &done, 1) == 0) kvpool_wait(channel, 1000);
  return (kvpool_status)done.results[0];
}

int main(int count, char** arguments) {
  static char stored[1 << 20] = "the KV of 16 tokens", back[1 << 20];
  kvpool_error error = {0};
  kvpool_pool* pool = NULL;
  kvpool_channel* channel = NULL;
  kvpool_space_spec spec = {.model = "llama-3.1-8b", .layers = 32};
  kvpool_key key = {"tokens 0 to 16", 14};
  kvpool_segment from = {.data = stored, .bytes = sizeof stored};
  kvpool_segment into = {.data = back, .bytes = sizeof back};
  kvpool_request request = {
      .keys = &key, .key_count = 1, .segments = &from, .segment_count = 1, .deadline_ms = -1};
  if (count != 2) {
    fprintf(stderr, "usage: %s POOL.toml\n", arguments[0]);
    return 2;
  }
  if (kvpool_open(arguments[1], 1, &pool, &error) != KVPOOL_OK ||
      kvpool_open_space(pool, &spec, &request.space, &error) != KVPOOL_OK ||
      kvpool_open_channel(pool, &channel, &error) != KVPOOL_OK) {
    fprintf(stderr, "%s\n", error.message);
    return 1;
  }
  if (kvpool_submit_put(channel, &request, NULL, NULL) != KVPOOL_OK) return 1;
  printf("put: %s\n", kvpool_status_text(complete(channel)));
  request.segments = &into;
  if (kvpool_submit_get(channel, &request, 0, NULL) != KVPOOL_OK) return 1;
  printf("get: %s, %s\n", kvpool_status_text(complete(channel)), back);
  kvpool_close_channel(channel);
  kvpool_close(pool, NULL);
  return memcmp(stored, back, sizeof stored) == 0 ? 0 : 1;
}

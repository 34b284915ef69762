/* Writes the bitmaps croaring_*.bin: gcc croaring.c -lroaring && ./a.out */
#include <roaring/roaring.h>
#include <stdio.h>
#include <stdlib.h>

static void add_row(roaring_bitmap_t *r, uint32_t from, uint32_t to) {
  for (uint32_t v = from; v < to; v++) roaring_bitmap_add(r, v);
}

static void write_to(const char *name, roaring_bitmap_t *r) {
  size_t n = roaring_bitmap_portable_size_in_bytes(r);
  char *b = malloc(n);
  roaring_bitmap_portable_serialize(r, b);
  FILE *f = fopen(name, "wb");
  if (f == NULL || fwrite(b, 1, n, f) != n || fclose(f) != 0) exit(1);
  printf("%s: %zu bytes, %llu values\n", name, n, (unsigned long long)roaring_bitmap_get_cardinality(r));
  free(b);
}

int main(void) {
  roaring_bitmap_t *r = roaring_bitmap_create();
  for (uint32_t i = 0; i < 500; i++) roaring_bitmap_add(r, 7 * i);               /* a list */
  for (uint32_t i = 0; i < 5000; i++) roaring_bitmap_add(r, (1u << 16) + 3 * i); /* a bit for each */
  add_row(r, (5u << 16) + 100, (5u << 16) + 9000);                               /* neighbours, more than a list has */
  add_row(r, (9u << 16) - 10, (9u << 16) + 10);                                  /* around the end of a container */
  roaring_bitmap_add(r, UINT32_MAX);
  write_to("croaring_without_runs.bin", r);
  roaring_bitmap_run_optimize(r);
  write_to("croaring_with_runs.bin", r);

  roaring_bitmap_t *few = roaring_bitmap_create(); /* fewer than four containers, one of runs: no table of offsets */
  add_row(few, 1000, 2000);
  roaring_bitmap_add(few, 1u << 20);
  roaring_bitmap_run_optimize(few);
  write_to("croaring_few.bin", few);

  write_to("croaring_empty.bin", roaring_bitmap_create());
  return 0;
}

/* Clocks that can be put forward and back for one process, while all others keep the machine's: preloaded before the C
 * library, it adds the seconds in the file CLOCK_OFFSET_FILE to the clock on the wall, and those in CLOCK_COUNT_FILE to the
 * one that only counts. Each goes on as it is when the other one is set, as a machine's do. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long offset(const char *variable) {
  long seconds = 0;
  const char *path = getenv(variable);
  FILE *file = path ? fopen(path, "re") : NULL;
  if (file) {
    if (fscanf(file, "%ld", &seconds) != 1)
      seconds = 0;
    fclose(file);
  }
  return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = (int)syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && clock == CLOCK_REALTIME)
    now->tv_sec += offset("CLOCK_OFFSET_FILE");
  if (result == 0 && clock == CLOCK_MONOTONIC)
    now->tv_sec += offset("CLOCK_COUNT_FILE");
  return result;
}

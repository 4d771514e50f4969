/* A wall clock that can be put forward and back for one process, while all others keep the machine's: preloaded before the C
 * library, it adds the seconds in the file CLOCK_OFFSET_FILE. Clocks that only count go on as they are, as they do when
 * somebody sets a machine's clock. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long offset(void) {
  long seconds = 0;
  const char *path = getenv("CLOCK_OFFSET_FILE");
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
    now->tv_sec += offset();
  return result;
}

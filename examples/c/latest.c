/* Print the newest item of a stream: how a program in another language attaches.
 *
 *   cc -std=c11 -O2 -I native/include examples/c/latest.c -o latest
 *   ./latest /dev/shm/marey-1000/bench cam
 */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "marey/ring.h"

/* Map a whole file for reading; NULL where that is not possible. */
static const unsigned char *map(const char *path, size_t least, size_t *bytes) {
    struct stat info;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return NULL;
    void *at = MAP_FAILED;
    if (fstat(file, &info) == 0 && (size_t)info.st_size >= least) {
        *bytes = (size_t)info.st_size;
        at = mmap(NULL, *bytes, PROT_READ, MAP_SHARED, file, 0);
    }
    close(file);
    return at == MAP_FAILED ? NULL : at;
}

static uint64_t load(const uint64_t *field, memory_order order) {
    return atomic_load_explicit((const _Atomic uint64_t *)field, order);
}

static int fail(const char *why) {
    fprintf(stderr, "latest: %s\n", why);
    return 1;
}

int main(int count, char **arguments) {
    if (count != 3) return fail("expected: latest FOLDER STREAM");
    char path[4096];
    size_t bytes = 0, data_bytes = 0;

    snprintf(path, sizeof path, "%s/%s.ring", arguments[1], arguments[2]);
    const unsigned char *file =
        map(path, MAREY_CONTROL_OFFSET + sizeof(struct marey_control), &bytes);
    if (file == NULL) return fail("there is no such stream");
    const struct marey_header *header = (const struct marey_header *)file;
    if (memcmp(header->magic, MAREY_MAGIC, sizeof header->magic) != 0)
        return fail("this is not a stream");
    if (header->layout != MAREY_LAYOUT) return fail("its layout is of another version");
    if (header->control_bytes > bytes || header->slots_offset > bytes || header->slots == 0 ||
        header->slots > (bytes - header->slots_offset) / sizeof(struct marey_slot) ||
        header->slots * header->stride != header->data_bytes || header->ndim > MAREY_MAX_DIMS)
        return fail("its header is damaged");

    snprintf(path, sizeof path, "%s/%s.%" PRIu64 ".data", arguments[1], arguments[2],
             header->generation);
    const unsigned char *data = map(path, header->data_bytes, &data_bytes);
    if (data == NULL) return fail("its items are missing");

    const struct marey_control *control =
        (const struct marey_control *)(file + MAREY_CONTROL_OFFSET);
    const struct marey_slot *slots = (const struct marey_slot *)(file + header->slots_offset);
    for (;;) {
        const uint64_t head = load(&control->head, memory_order_acquire);
        if (head == header->first) return fail("nothing has been published yet");
        const uint64_t seq = head - 1, at = seq % header->slots;
        const struct marey_slot slot = slots[at];
        uint64_t length = header->itemsize, sum = 0;
        for (uint64_t d = 0; d < header->ndim; ++d) length *= slot.shape[d];
        if (length > header->stride) length = 0; /* a half-written shape: refused below */
        for (uint64_t i = 0; i < length; ++i) sum += data[at * header->stride + i];

        /* Whatever was read counts only if the slot had not been begun anew until here. */
        atomic_thread_fence(memory_order_acquire);
        if (load(&control->begin, memory_order_relaxed) > seq + header->slots) continue;
        printf("seq %" PRIu64 ", published at %" PRId64 " ns, %" PRIu64 " bytes, sum %" PRIu64 "\n",
               slot.stamp.seq, slot.stamp.published, length, sum);
        return 0;
    }
}

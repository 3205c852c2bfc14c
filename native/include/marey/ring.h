/* The memory layout of a marey stream, version 1.
 *
 * A stream is three files in the session's runtime folder: NAME.ring (control, read-write for the
 * owner's user), NAME.G.data (items; readers map it read-only) and NAME.L.readers (the readers'
 * accounts, read-write), G being the generation and L the life in the header. A writer with another
 * layout replaces the first two; the accounts stay. All numbers are in the machine's byte order,
 * offsets are in bytes. Fields marked [a] are accessed atomically by several processes. The order
 * of stores is explained in docs/reference/ring-layout.md.
 */
#ifndef MAREY_RING_H
#define MAREY_RING_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MAREY_MAGIC "MAREYRNG"
#define MAREY_ACCOUNTS_MAGIC "MAREYACC"
#define MAREY_LAYOUT 1u
#define MAREY_MAX_DIMS 4
#define MAREY_READERS 64
#define MAREY_EPOCHS 16
#define MAREY_BUCKETS 64
#define MAREY_NAME 48
#define MAREY_CONTROL_OFFSET 4096      /* of marey_control in NAME.ring, whatever the page size */
#define MAREY_UNKNOWN UINT64_MAX       /* device_frame or source_seq of an item that has none */
#define MAREY_UNKNOWN_TIME INT64_MIN   /* device_time of an item whose device tells no time */

enum marey_flags { MAREY_LOSSLESS = 1 };
enum marey_state { MAREY_IDLE = 0, MAREY_WRITING = 1, MAREY_CLOSED = 2, MAREY_REPLACED = 3 };
enum marey_policy { MAREY_EVERY = 1, MAREY_LATEST = 2 };

/* NAME.ring begins with it. Written before the file gets its name; never changed afterwards. */
struct marey_header {
    char magic[8];
    uint32_t layout;
    uint32_t flags;
    uint64_t generation;    /* suffix of the data file */
    uint64_t life;          /* suffix of the readers' file */
    uint64_t first;         /* first item of this generation */
    uint64_t slots;         /* N */
    uint64_t stride;        /* bytes from one slot to the next, a multiple of 64 */
    uint64_t data_bytes;    /* N * stride, a multiple of the page */
    uint64_t control_bytes; /* size of this file */
    uint64_t itemsize;      /* bytes of one element */
    uint64_t ndim;          /* dimensions of an item, 1..4 */
    uint64_t shape[MAREY_MAX_DIMS]; /* greatest shape of an item */
    uint64_t slots_offset, spec_offset;
    uint64_t spec_bytes;    /* length of the description, JSON in UTF-8 */
    uint64_t checksum;      /* FNV-1a of all bytes above and of the description */
};

/* One item: item f stands in slot f % N. */
struct marey_stamp {
    uint64_t seq;          /* gapless number of the item in its stream */
    uint64_t source_seq;   /* the item that a result was made of */
    uint64_t device_frame; /* the device's own counter */
    int64_t device_time;   /* ns on the device's clock */
    int64_t host_time;     /* ns, Unix time of the exposure */
    int64_t mono_time;     /* ns, CLOCK_MONOTONIC of the exposure; results inherit it */
    int64_t published;     /* ns, CLOCK_MONOTONIC of the publication */
};

struct marey_slot {
    struct marey_stamp stamp;
    uint32_t shape[MAREY_MAX_DIMS]; /* of this item */
    uint64_t epoch;
    uint8_t reserved[48];
};

struct marey_epoch {
    uint64_t epoch, first_seq;
    int64_t host_time;
    uint64_t device_lost; /* before this epoch began */
};

/* At MAREY_CONTROL_OFFSET. 64-byte lines, each written by one party or for one purpose. */
struct marey_control {
    uint64_t head;      /* [a] items published */
    uint8_t pad0[56];
    uint64_t begin;     /* [a] items begun; item f is intact while begin <= f + N; never falls */
    uint64_t reserve;   /* [a] items that a lossless writer means to begin, told before it looks
                           whether its readers leave room */
    uint8_t pad1[48];
    uint32_t wake;      /* [a] futex word, changes when sleeping readers are woken */
    uint32_t sleepers;  /* [a] 1 when a reader may sleep on wake */
    uint8_t pad2[56];
    uint64_t owner;     /* [a] the writer: pid << 32 | its start time; 0 for none */
    uint64_t epoch;     /* [a] number of writers so far */
    uint32_t state;     /* [a] marey_state */
    uint32_t reserved;
    int64_t heartbeat;  /* [a] ns, CLOCK_MONOTONIC of the writer's last sign of life */
    uint8_t pad3[32];
    uint64_t device_lost;     /* [a] frames that the device says it lost */
    uint64_t device_repeated; /* [a] frames that the device delivered twice */
    uint8_t pad4[48];
    struct marey_epoch epochs[MAREY_EPOCHS]; /* [a] epoch e stands at e % 16 */
};

/* What a reader settled, apart from what it received. */
struct marey_losses {
    uint64_t lost;    /* items overwritten before they were read */
    uint64_t torn;    /* items overwritten while they were in use */
    uint64_t skipped; /* items passed over on purpose: by latest(), or purged */
};

/* One reader's account, all of it [a]; written by its owner only, read by anybody.
 * Received are cursor - start - lost - torn - skipped items. */
struct marey_reader {
    uint64_t owner;      /* pid << 32 | start time; 0 for free */
    uint64_t generation; /* how often the row was taken */
    char name[MAREY_NAME];
    uint32_t policy;     /* marey_policy; 0 while the row is no account */
    uint32_t keep;       /* 1: the account outlives its reader (nodes), 0: the row may be reused */
    uint64_t start;      /* first item that it is owed */
    uint64_t cursor;     /* next item; those before it are settled */
    struct marey_losses losses;
    int64_t heartbeat;   /* ns, CLOCK_MONOTONIC of its last sign of life */
    uint64_t reserved;
    /* What losses were at old_cursor, noted before both change: whoever resumes an account whose
     * cursor is still old_cursor takes them back, so that a kill between the two counts nothing. */
    uint64_t old_cursor;
    struct marey_losses old_losses;
    uint64_t reserved2[4];
    uint32_t latency[MAREY_BUCKETS]; /* publication to delivery: bucket b begins at 2^(b/3) us */
    uint8_t reserved3[64];
};

/* The whole of NAME.L.readers. */
struct marey_accounts {
    char magic[8]; /* written before the stream gets its name, as are the next four */
    uint32_t layout;
    uint32_t rows;
    uint64_t row_bytes;
    uint64_t life;
    uint8_t pad0[32];
    uint32_t space;        /* [a] futex word, changes when a lossless writer's reader moves on */
    uint32_t writer_waits; /* [a] 1 when a lossless writer may sleep on space */
    uint8_t pad1[56];
    struct marey_reader readers[MAREY_READERS];
};

#ifdef __cplusplus
}
#endif
#endif

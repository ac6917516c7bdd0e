/*
 * pymalloc: a malloc on CPython's arena-pool-block design.
 *
 * The pymalloc_* functions call the library by its own names, whatever `malloc` is in this program. Each of those that is
 * named after a standard function does what that one does. Memory may be taken by either name and freed by the other
 * as long as `malloc` is the library's, that is, in any program that preloads it or links it.
 */


#ifndef PYMALLOC_H
#define PYMALLOC_H

/* Generated from the Rust source by `make header`: change the source, not this file. */

#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/**
 * For pymalloc_heapmap(): leave the states of the single blocks out. The free blocks that threads have at hand then count as in use in
 * their pools; in the totals they do not.
 */
#define PYMALLOC_HEAPMAP_WITHOUT_BLOCKS 1

/**
 * What kind of memory an address lies in.
 */
typedef enum pymalloc_kind {
    /**
     * Not memory of this allocator.
     */
    PYMALLOC_KIND_NONE = 0,
    /**
     * A block of a pool.
     */
    PYMALLOC_KIND_POOL = 1,
    /**
     * A large block: whole slots of an arena.
     */
    PYMALLOC_KIND_LARGE = 2,
    /**
     * A large block that is a mapping of its own.
     */
    PYMALLOC_KIND_MAPPING = 3,
    /**
     * Inside an arena, but in no pool and no large block: its header, a free slot, or the end of a pool behind the last block.
     */
    PYMALLOC_KIND_ARENA = 4,
} pymalloc_kind;

/**
 * The state of a block.
 */
typedef enum pymalloc_state {
    /**
     * There is no block.
     */
    PYMALLOC_STATE_NONE = 0,
    /**
     * Never handed out: no byte of it was written yet.
     */
    PYMALLOC_STATE_UNTOUCHED = 1,
    /**
     * Handed out and freed, or about to be handed out.
     */
    PYMALLOC_STATE_FREE = 2,
    /**
     * In use by the program.
     */
    PYMALLOC_STATE_ALLOCATED = 3,
} pymalloc_state;

/**
 * What an address is.
 */
typedef struct pymalloc_info {
    /**
     * What kind of memory it lies in. When this is `None`, everything else is zero.
     */
    enum pymalloc_kind kind;
    /**
     * The state of its block.
     */
    enum pymalloc_state state;
    /**
     * Start of its arena; null for a mapping of its own.
     */
    const void *arena;
    /**
     * Bytes of the arena, 0 for none.
     */
    size_t arena_size;
    /**
     * Start of its pool, of its large block, or of its free slot.
     */
    const void *pool;
    /**
     * Bytes of these.
     */
    size_t pool_size;
    /**
     * Start of its block; null for none.
     */
    const void *block;
    /**
     * Bytes of the block, 0 for none.
     */
    size_t block_size;
    /**
     * The size class of its pool; 0 for all else.
     */
    uint32_t size_class;
    /**
     * The number of the block in its pool, from 0.
     */
    uint32_t block_index;
} pymalloc_info;

/**
 * Figures of the whole library, counted by pymalloc_stats_get(): bytes where the name says so, else numbers. Later versions of the
 * library add fields at the end.
 */
typedef struct pymalloc_stats {
    /**
     * Bytes of the whole process that are resident; 0 where /proc is not there. malloc_stats() and malloc_info() do not ask for it.
     */
    size_t resident;
    /**
     * Bytes of the blocks that the program has.
     */
    size_t bytes_in_use;
    /**
     * Bytes of the blocks that were freed and may be resident, freed mappings that are kept included.
     */
    size_t bytes_free;
    /**
     * Arenas mapped now.
     */
    size_t arenas_live;
    /**
     * The most that were mapped at one time.
     */
    size_t arenas_most;
    /**
     * Arenas mapped since the start.
     */
    size_t arenas_mapped;
    /**
     * Arenas unmapped since the start.
     */
    size_t arenas_unmapped;
    /**
     * Bytes of an arena.
     */
    size_t arenas_bytes;
    /**
     * Free slots of all arenas. An arena has 64 slots, of which one is its own.
     */
    size_t slots_free;
    /**
     * Free slots whose pages were given back since the start.
     */
    size_t slots_purged;
    /**
     * Bytes of the free slots that may be resident.
     */
    size_t slots_dirty_bytes;
    /**
     * Bytes of the blocks freed in pools since these were last scanned for free pages.
     */
    size_t pages_unscanned_bytes;
    /**
     * Bytes of the pages inside pools that were given back and are not in use again.
     */
    size_t pages_purged_bytes;
    /**
     * Bytes that may stay resident beyond all else since they were given back too early before.
     */
    size_t retained_bytes;
    /**
     * Large blocks: those that take whole slots.
     */
    size_t large_count;
    /**
     * Bytes of these.
     */
    size_t large_bytes;
    /**
     * Blocks that are mappings of their own.
     */
    size_t mappings_count;
    /**
     * Bytes of these.
     */
    size_t mappings_bytes;
    /**
     * Bytes of the freed mappings that are kept.
     */
    size_t mappings_kept_bytes;
    /**
     * Heaps that threads have.
     */
    size_t heaps_live;
    /**
     * Heaps that wait for a thread.
     */
    size_t heaps_spare;
    /**
     * Blocks freed since the start by threads that did not own their pool.
     */
    size_t remote_frees;
    /**
     * Bytes that may be resident without a live block: free slots, what was freed in pools, and freed mappings.
     */
    size_t budget_used_bytes;
    /**
     * How many that may be.
     */
    size_t budget_bytes;
    /**
     * Bytes without a live block, beside these, that the system may take at any moment. While it has memory enough they still count as resident.
     */
    size_t lazy_bytes;
} pymalloc_stats;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library, as "major.minor.patch". The string is static. Thread-safe.
 */
const char *pymalloc_version(void);

/**
 * As malloc(3): at least `size` bytes, aligned to 16, not cleared. A size of 0 gives a block of its own. Returns NULL and
 * sets errno to ENOMEM when there is no memory or `size` exceeds PTRDIFF_MAX. Thread-safe.
 */
void *pymalloc_malloc(size_t size);

/**
 * As free(3): frees a block of any of the allocating functions; NULL is ignored. errno is kept. A pointer that is not that of
 * an allocated block ends the process with a message. Thread-safe; any thread may free any block.
 */
void pymalloc_free(void *ptr);

/**
 * As calloc(3): `count` times `size` bytes, all zero. Returns NULL and sets errno to ENOMEM as pymalloc_malloc(), or
 * when the product overflows. Thread-safe.
 */
void *pymalloc_calloc(size_t count,
                      size_t size);

/**
 * As realloc(3): resizes a block and keeps its contents up to the smaller size. `ptr` of NULL allocates; `size` of 0 frees and
 * returns NULL, as glibc does. On failure returns NULL, sets errno to ENOMEM, and leaves the block as it was. Bad pointers
 * as pymalloc_free(). Thread-safe.
 */
void *pymalloc_realloc(void *ptr,
                       size_t size);

/**
 * As reallocarray(3): pymalloc_realloc() to `count` times `size` bytes; an overflow of the product fails with ENOMEM.
 * Thread-safe.
 */
void *pymalloc_reallocarray(void *ptr,
                            size_t count,
                            size_t size);

/**
 * As posix_memalign(3): stores a block of at least `size` bytes at a multiple of `alignment`, a power of two
 * and a multiple of the size of a pointer, in `*memptr`. Returns 0, EINVAL or ENOMEM; on error errno is set to that as well, and `*memptr` is left alone.
 * Thread-safe.
 */
int pymalloc_posix_memalign(void **memptr,
                            size_t alignment,
                            size_t size);

/**
 * As aligned_alloc(3): at least `size` bytes at a multiple of `alignment`, a power of two. Returns NULL and sets errno to
 * EINVAL for another alignment, else to ENOMEM. Thread-safe.
 */
void *pymalloc_aligned_alloc(size_t alignment,
                             size_t size);

/**
 * As memalign(3): pymalloc_aligned_alloc(), but an alignment that is no power of two is rounded up to one, as in
 * glibc. Thread-safe.
 */
void *pymalloc_memalign(size_t alignment,
                        size_t size);

/**
 * As valloc(3): at least `size` bytes at the start of a page. Thread-safe.
 */
void *pymalloc_valloc(size_t size);

/**
 * As pvalloc(3): whole pages. Thread-safe.
 */
void *pymalloc_pvalloc(size_t size);

/**
 * As malloc_usable_size(3): the bytes of a block that may be used, at least as many as were asked for; 0 for NULL. Bad
 * pointers as pymalloc_free(). Thread-safe.
 */
size_t pymalloc_malloc_usable_size(void *ptr);

/**
 * As C23's free_sized(): pymalloc_free() of a block that was allocated with this size. Thread-safe.
 */
void pymalloc_free_sized(void *ptr, size_t size);

/**
 * As C23's free_aligned_sized(): pymalloc_free() of a block that was allocated with this alignment and size. Thread-safe.
 */
void pymalloc_free_aligned_sized(void *ptr,
                                 size_t alignment,
                                 size_t size);

/**
 * Gives all memory back to the system that can be given back now: empty pools of every thread, free pages of arenas,
 * empty arenas, freed mappings. `keep`, which malloc_trim(3) has, is ignored: nothing is kept. Returns 1 if memory went
 * back, else 0. Thread-safe.
 */
int pymalloc_trim(size_t keep);

/**
 * Tells what `ptr` is: whether memory of this library, and of which arena, pool, size class and block, and the state of the
 * block. Returns 1 and fills `*info` if it is ours, else 0 (and fills it with zeroes). Safe for any pointer, at
 * any time; of a block that another thread uses the state is that of a moment during the call. `info` may be NULL.
 * Thread-safe.
 */
int pymalloc_inspect(const void *ptr,
                     struct pymalloc_info *info);

/**
 * Writes a table of arenas, pools and blocks to stderr, as malloc_stats(3). Allocates nothing, and asks the system nothing. Thread-safe.
 */
void pymalloc_malloc_stats(void);

/**
 * As malloc_info(3): writes an XML document about the library's memory to `stream`. `options` must be 0. Returns 0, or EINVAL for
 * other options. Thread-safe.
 */
int pymalloc_malloc_info(int options,
                         FILE *stream);

/**
 * Counts the figures of the library into `*stats`. `size` is `sizeof(pymalloc_stats)`: as many bytes are filled as both it
 * and the library's own structure have, so that a program may have been compiled with the header of another version; what is
 * behind stays as it is. Reads /proc. Returns 0, or -1 with errno EINVAL when `stats` is NULL or `size` is 0. What other threads allocate
 * and free meanwhile is counted or not. Walks over all arenas; allocates nothing. Thread-safe. See pymalloc_stats_json() for
 * the figures of each size class.
 */
int pymalloc_stats_get(struct pymalloc_stats *stats,
                       size_t size);

/**
 * Writes the figures of the library and of each size class to the file descriptor `fd`: one JSON object on one line.
 * Returns 0, or -1 with the errno of the write; a part may have been written then. Reads /proc. Allocates nothing. Thread-safe.
 */
int pymalloc_stats_json(int fd);

/**
 * Writes a snapshot of the heap to the file descriptor `fd`: every arena, pool, block and mapping, as one JSON object on one
 * line, a call of write(2) an arena. `flags` is 0 or PYMALLOC_HEAPMAP_WITHOUT_BLOCKS. Returns 0, or -1 with errno EINVAL for
 * other flags, or with that of the write; a part may have been written then. Each arena is shown as it is at some moment
 * during the call. `fd` may be a pipe that another thread of this process reads. At most 65,536 arenas are shown. Allocates
 * nothing, and makes no page of a block resident. Thread-safe: one snapshot at a time is written, the others wait.
 */
int pymalloc_heapmap(int fd,
                     int flags);

/**
 * As mallinfo2(3), in bytes: `arena` is the arenas' address space, `usmblks` the most it ever was, `hblks` and `hblkhd` the
 * number and bytes of mappings, `ordblks` the number of free blocks, `uordblks` the bytes in use outside of mappings,
 * `fordblks` the bytes free, `keepcost` the bytes of freed mappings that are kept. The rest is 0. Thread-safe.
 */
struct mallinfo2 pymalloc_mallinfo2(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PYMALLOC_H */

/* A set-associative cache with least-recently-used replacement, write-allocate, no prefetch.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef EDGE_CACHE_H
#define EDGE_CACHE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { CACHE_LINE = 64 }; /* bytes; of both of a Cortex-A72's data caches (its Technical Reference Manual, ch. 6 and 7) */

struct cache {
    uint64_t sets; /* a power of two */
    unsigned ways;
    uint64_t *lines; /* sets x ways line numbers + 1, the most recently used first; 0: empty */
};

/* Make an empty cache of `bytes`; false where memory is short. */
static inline bool cache_make(struct cache *cache, uint64_t bytes, unsigned ways)
{
    cache->ways = ways;
    cache->sets = bytes / CACHE_LINE / ways;
    cache->lines = calloc(cache->sets * ways, sizeof(*cache->lines));
    return cache->lines != NULL;
}

/* Use a line, given its number (address / CACHE_LINE); true where the cache had it. */
static inline bool cache_touch(struct cache *cache, uint64_t line)
{
    uint64_t *set = cache->lines + (line & (cache->sets - 1)) * cache->ways, wanted = line + 1;
    unsigned way;

    if (set[0] == wanted)
        return true;
    for (way = 1; way < cache->ways && set[way] != wanted; way++)
        ;
    bool hit = way < cache->ways;
    memmove(set + 1, set, (hit ? way : cache->ways - 1) * sizeof(*set));
    set[0] = wanted;
    return hit;
}

#endif

/* Counts what a program executes between two marks, and what of it misses a Cortex-A72's data caches.
 *
 * A plug-in for QEMU's user-mode emulation of AArch64. It is a program of its own, loaded by QEMU and by nothing else;
 * the rest of the project neither links with it nor contains any of QEMU.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The licence is that of QEMU, whose plug-ins it joins at run time; the rest of the project is under its own.
 *
 * A mark is the system call ioctl() on a file descriptor that does not exist, MARK + one of the three below: what
 * Python's os.isatty() does, which costs the program nothing it would notice.
 *
 *     cc -O2 -shared -fPIC -fvisibility=hidden -o counts.so counts.c
 *     qemu-aarch64 -plugin counts.so,out=FILE ...
 *
 * FILE is written when the last mark is met: one JSON object.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "a64.h"
#include "cache.h"

/* What is used of QEMU's plug-in interface, version 1, from its documentation ("TCG plugin API"). QEMU 9.0 and later
 * changed qemu_plugin_insn_data() and refuse a plug-in of this version. */
#define EXPORTED __attribute__((visibility("default")))
#define API_VERSION 1

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef struct {
    const char *target_name;
    struct {
        int min;
        int cur;
    } version;
    bool system_emulation;
    /* A system emulation's counts of processors follow; they are not read. */
} qemu_info_t;

enum { NO_REGISTERS = 0 };     /* a callback that looks at no register */
enum { READS_AND_WRITES = 3 }; /* a callback for loads and for stores */

typedef void (*on_block_t)(unsigned int vcpu, void *data);
typedef void (*on_access_t)(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *data);
typedef void (*on_translation_t)(qemu_plugin_id_t id, struct qemu_plugin_tb *block);
typedef void (*on_syscall_t)(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2,
                             uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
extern unsigned int qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, on_translation_t callback);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, on_block_t callback, int flags,
                                                 void *data);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, on_access_t callback, int flags, int which,
                                             void *data);
extern void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, on_syscall_t callback);

EXPORTED int qemu_plugin_version = API_VERSION;

enum { SYS_IOCTL = 29 }; /* asm-generic/unistd.h */
enum { MARK = 0x45444700, WARM = MARK + 1, START = MARK + 2, STOP = MARK + 3 };
enum { IDLE, WARMING, COUNTING, DONE };

/* A translated block: how many instructions of each class it has, and how often it ran while counting. */
struct block {
    struct block *next;
    uint64_t runs;
    uint32_t of_class[A64_CLASSES];
    uint32_t instructions;
};

static struct block *blocks;
static const char *out_path;
static int phase;            /* of the marks */
static unsigned int counted; /* the virtual processor, hence the thread, that made the first mark */
static uint64_t elsewhere;   /* instructions that other threads ran meanwhile */
static uint64_t accesses;
static struct cache l1d, l2;
static uint64_t l1d_misses, l2_misses;

static void block_runs(unsigned int vcpu, void *data)
{
    struct block *block = data;

    if (phase != COUNTING)
        return;
    if (vcpu == counted)
        block->runs++;
    else
        __atomic_fetch_add(&elsewhere, block->instructions, __ATOMIC_RELAXED);
}

static void memory_accessed(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *data)
{
    uint64_t line, last;

    (void)data;
    if ((phase != COUNTING && phase != WARMING) || vcpu != counted)
        return;
    accesses++;
    last = (address + (UINT64_C(1) << qemu_plugin_mem_size_shift(info)) - 1) / CACHE_LINE;
    for (line = address / CACHE_LINE; line <= last; line++) {
        if (cache_touch(&l1d, line))
            continue;
        l1d_misses++;
        if (!cache_touch(&l2, line))
            l2_misses++;
    }
}

static void block_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    struct block *block = calloc(1, sizeof(*block));
    size_t count = qemu_plugin_tb_n_insns(tb), index;

    (void)id;
    if (block == NULL)
        abort();
    block->instructions = (uint32_t)count;
    for (index = 0; index < count; index++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, index);
        uint32_t word;

        memcpy(&word, qemu_plugin_insn_data(insn), sizeof(word));
        block->of_class[a64_class(word)]++;
        if (a64_is_load_or_store(word))
            qemu_plugin_register_vcpu_mem_cb(insn, memory_accessed, NO_REGISTERS, READS_AND_WRITES, NULL);
    }
    /* QEMU translates one block at a time, under a lock of its own. A block that it throws away stays counted. */
    block->next = blocks;
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, block_runs, NO_REGISTERS, block);
}

static void write_counts(void)
{
    uint64_t total[A64_CLASSES] = {0}, all = 0;
    const struct block *block;
    FILE *out = fopen(out_path, "w");
    int index;

    if (out == NULL)
        return; /* the reader says that nothing is there */
    for (block = blocks; block != NULL; block = block->next)
        for (index = 0; index < A64_CLASSES; index++)
            total[index] += block->runs * block->of_class[index];
    fprintf(out, "{");
    for (index = 0; index < A64_CLASSES; index++) {
        fprintf(out, "\"%s\": %" PRIu64 ", ", a64_class_names[index], total[index]);
        all += total[index];
    }
    fprintf(out, "\"insns\": %" PRIu64 ", \"mem\": %" PRIu64 ", \"l1d_miss\": %" PRIu64 ", \"l2_miss\": %" PRIu64
            ", \"elsewhere\": %" PRIu64 "}\n", all, accesses, l1d_misses, l2_misses, elsewhere);
    fclose(out);
}

static void system_called(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                          uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != SYS_IOCTL)
        return;
    if (a1 == WARM && phase == IDLE) {
        counted = vcpu;
        phase = WARMING;
    } else if (a1 == START && phase == WARMING && vcpu == counted) {
        accesses = l1d_misses = l2_misses = 0;
        phase = COUNTING;
    } else if (a1 == STOP && phase == COUNTING && vcpu == counted) {
        phase = DONE;
        write_counts();
    }
}

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    if (info->version.min > API_VERSION || info->version.cur < API_VERSION) {
        fprintf(stderr, "counts: this QEMU has plug-in interface %d to %d, not %d\n", info->version.min,
                info->version.cur, API_VERSION);
        return -1;
    }
    if (info->system_emulation || strcmp(info->target_name, "aarch64") != 0) {
        fprintf(stderr, "counts: a program for aarch64 is needed, not %s\n", info->target_name);
        return -1;
    }
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0) {
        fprintf(stderr, "counts: expected out=FILE\n");
        return -1;
    }
    out_path = strdup(argv[0] + 4);
    if (out_path == NULL || !cache_make(&l1d, 32 * 1024, 2) || !cache_make(&l2, 1024 * 1024, 16))
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);
    qemu_plugin_register_vcpu_syscall_cb(id, system_called);
    return 0;
}

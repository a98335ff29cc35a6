/* Classes of A64 instructions, by their encoding.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source: Arm Architecture Reference Manual for A-profile, chapter C4, "A64 Instruction Set Encoding".
 */
#ifndef EDGE_A64_H
#define EDGE_A64_H

#include <stdbool.h>
#include <stdint.h>

enum a64_class {
    A64_SIMD_FMA,       /* floating-point multiply-add of a vector by one element: the heart of a matrix product */
    A64_SIMD_FMA_PLAIN, /* the others: vector by vector, as in depthwise layers, and scalar */
    A64_SIMD_INTMUL,    /* vector integer multiply, with and without add */
    A64_SIMD_OTHER,     /* every other SIMD and floating-point instruction */
    A64_LD_VEC,         /* load of SIMD and floating-point registers */
    A64_ST_VEC,         /* store of them */
    A64_LD_GPR,         /* load of general registers; prefetches, too */
    A64_ST_GPR,         /* store of them */
    A64_BRANCH,
    A64_INT_MUL,        /* integer multiply, with and without add */
    A64_OTHER,
    A64_CLASSES
};

static const char *const a64_class_names[A64_CLASSES] = {
    "simd_fma", "simd_fma_plain", "simd_intmul", "simd_other", "ld_vec", "st_vec",
    "ld_gpr",   "st_gpr",         "branch",      "int_mul",    "other",
};

/* Bits `high` to `low` of an instruction. */
static inline uint32_t a64_bits(uint32_t word, int high, int low)
{
    return word >> low & ((UINT32_C(2) << (high - low)) - 1);
}

static inline bool a64_is_load_or_store(uint32_t word)
{
    return (word & 0x0a000000) == 0x08000000;
}

static inline enum a64_class a64_load_or_store(uint32_t word)
{
    bool vector = a64_bits(word, 26, 26), load;

    switch (a64_bits(word, 29, 28)) {
    case 0: /* exclusive and ordered ones; structures of vectors */
    case 2: /* pairs */
        load = a64_bits(word, 22, 22);
        break;
    case 1: /* literals */
        load = true;
        break;
    default:                                   /* one register, any addressing mode */
        load = a64_bits(word, 23, 22) & (vector ? 1 : 3); /* a vector's upper bit says that it has 128 bits */
    }
    return vector ? (load ? A64_LD_VEC : A64_ST_VEC) : (load ? A64_LD_GPR : A64_ST_GPR);
}

/* Of vector (Q x 01110, 01111) and scalar (01 x 11110, 11111) encodings alike; bit 29 is U. */
static inline enum a64_class a64_simd(uint32_t word)
{
    bool u = a64_bits(word, 29, 29);
    uint32_t opcode;

    if (a64_bits(word, 31, 24) == 0x1f) /* FMADD, FMSUB, FNMADD, FNMSUB */
        return A64_SIMD_FMA_PLAIN;
    if (a64_bits(word, 31, 31) || (a64_bits(word, 28, 28) && !a64_bits(word, 30, 30)))
        return A64_SIMD_OTHER;
    if (a64_bits(word, 27, 24) == 0xe && a64_bits(word, 21, 21)) {
        if (a64_bits(word, 10, 10)) { /* three registers of one width */
            opcode = a64_bits(word, 15, 11);
            if (opcode == 0x19 && !u) /* FMLA, FMLS */
                return A64_SIMD_FMA_PLAIN;
            /* MLA, MLS; MUL, PMUL; SQDMULH, SQRDMULH */
            return opcode == 0x12 || opcode == 0x13 || opcode == 0x16 ? A64_SIMD_INTMUL : A64_SIMD_OTHER;
        }
        if (a64_bits(word, 11, 11) == 0) /* three registers of different widths: SMLAL to PMULL */
            return a64_bits(word, 15, 12) >= 8 && a64_bits(word, 15, 12) <= 14 ? A64_SIMD_INTMUL : A64_SIMD_OTHER;
        return A64_SIMD_OTHER;
    }
    if (a64_bits(word, 27, 24) == 0xf && !a64_bits(word, 10, 10)) { /* by an element */
        opcode = a64_bits(word, 15, 12);
        if (u) /* MLA, UMLAL, MLS, UMLSL, UMULL */
            return opcode == 0 || opcode == 2 || opcode == 4 || opcode == 6 || opcode == 10 ? A64_SIMD_INTMUL
                                                                                             : A64_SIMD_OTHER;
        if (opcode == 1 || opcode == 5) /* FMLA, FMLS */
            return A64_SIMD_FMA;
        /* SMLAL, SQDMLAL, SMLSL, SQDMLSL, MUL; SMULL, SQDMULL, SQDMULH, SQRDMULH */
        return opcode == 2 || opcode == 3 || (opcode >= 6 && opcode <= 8) || (opcode >= 10 && opcode <= 13)
                   ? A64_SIMD_INTMUL
                   : A64_SIMD_OTHER;
    }
    return A64_SIMD_OTHER;
}

static inline enum a64_class a64_class(uint32_t word)
{
    uint32_t top = a64_bits(word, 28, 25);

    if (a64_is_load_or_store(word)) /* x1x0 */
        return a64_load_or_store(word);
    if ((top & 7) == 7) /* x111 */
        return a64_simd(word);
    if ((top & 7) == 5) /* x101: data processing of registers */
        return a64_bits(word, 28, 24) == 0x1b ? A64_INT_MUL : A64_OTHER;
    if ((top & 14) == 10) { /* 101x: branches, exceptions, system */
        bool immediate = a64_bits(word, 30, 26) == 5;                                   /* B, BL */
        bool tested = a64_bits(word, 30, 26) == 13;                                     /* CBZ, CBNZ, TBZ, TBNZ */
        bool other = a64_bits(word, 31, 24) == 0x54 || a64_bits(word, 31, 25) == 0x6b;  /* B.cond; BR, BLR, RET */
        return immediate || tested || other ? A64_BRANCH : A64_OTHER;
    }
    return A64_OTHER;
}

#endif

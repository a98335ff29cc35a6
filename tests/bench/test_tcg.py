"""The counting plug-in: how it classes instructions, and what it counts of loops that can be counted by hand."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from edge.bench.emulation_counts import SOURCES, plugin_path
from edge.bench.emulator import CPU, plugin_option
from edge.runtime.errors import DeviceError

# Words by GNU as 2.40 for armv8-a, one line a class.
WORDS = {
    "simd_fma": "4f821020 fmla v0.4s,v1.4s,v2.s[0] | 4f825020 fmls by element",
    "simd_fma_plain": "4e22cc20 fmla v0.4s,v1.4s,v2.4s | 4ee2cc20 fmls v.2d | 1f020c20 fmadd s0 | 1f628c20 fnmsub d0",
    "simd_intmul": "0e628020 smlal | 4f722020 smlal2 by element | 2e22c020 umull | 4ea29c20 mul v.4s | 6e229420 mls"
    " | 6f520020 mla by element | 6ea2b420 sqrdmulh | 5ea2b420 sqdmulh s0 | 4f82c020 by element | 5ea2d020 sqdmull",
    "simd_other": "6e22dc20 fmul v.4s | 4f829020 fmul by element | 4e22d420 fadd | 0e220020 saddl | 4e606820 sadalp"
    " | 0e224020 addhn | 4f000400 movi | 4f3d0420 sshr | 4ea25420 srshl | 4e040420 dup | 6e022020 ext | 4e21d820 scvtf"
    " | 9e780000 fcvtzs x0,d0 | 9e660000 fmov x0,d0 | 4e22f420 fmax",
    "ld_vec": "3dc00020 ldr q0 | bd400420 ldr s0 | fc5f8020 ldur d0 | 3c626820 ldr b0,[x1,x2] | acc10440 ldp q0,q1"
    " | 4cdf2820 ld1 of four | 4d40c820 ld1r | 0d60b020 ld4 of one lane | 1c000000 ldr s0, literal",
    "st_vec": "3d800020 str q0 | bd000420 str s0 | 6dbf0440 stp d0,d1 | 0c007020 st1 v.8b | 4d008020 st1 of one lane",
    "ld_gpr": "f9400020 ldr | 38401c20 ldrb | b9800020 ldrsw | a8c107e0 ldp | c85f7c20 ldxr | 88dffc20 ldar"
    " | f9800000 prfm | 58000000 ldr x0, literal",
    "st_gpr": "f9000020 str | 781fe020 sturh | a9bf07e0 stp | c8007c41 stxr | 889ffc20 stlr",
    "branch": "14000000 b | 94000000 bl | 54000000 b.eq | b4000000 cbz | 37180000 tbnz | d61f0020 br | d63f0020 blr"
    " | d65f03c0 ret",
    "int_mul": "9b027c20 mul | 1b020c20 madd | 9b427c20 smulh | 9ba20c20 umaddl",
    "other": "8b020020 add | 91000420 add imm | 9ac20820 udiv | d37df020 lsl | 9a820020 csel | d2800020 movz"
    " | 90000000 adrp | d4000001 svc | d503201f nop | d53bd040 mrs | d5033bbf dmb",
}
CLASSIFIER = r"""
#include <stdio.h>
#include "a64.h"
int main(void)
{
    unsigned word;
    while (scanf("%x", &word) == 1)
        puts(a64_class_names[a64_class(word)]);
    return 0;
}
"""
CACHE_DRIVER = r"""
#include <stdio.h>
#include "cache.h"
int main(void)
{
    struct cache cache;
    unsigned long line;
    if (!cache_make(&cache, 4 * CACHE_LINE, 2)) /* two sets of two ways: even and odd lines */
        return 1;
    while (scanf("%lu", &line) == 1)
        putchar(cache_touch(&cache, line) ? 'h' : 'm');
    return 0;
}
"""


def compiled(source: str, folder: Path, given: str) -> str:
    """Compile a C program that includes the plug-in's headers, run it here, and return what it prints."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    (folder / "main.c").write_text(source, encoding="ascii")
    command = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{SOURCES}", "-o", "main", "main.c"]
    subprocess.run(command, cwd=folder, check=True)
    done = subprocess.run([str(folder / "main")], input=given, capture_output=True, text=True, check=True)
    return done.stdout


def test_every_instruction_is_of_its_class(tmp_path: Path) -> None:
    wanted = [(item.split()[0], item.strip(), name) for name, line in WORDS.items() for item in line.split("|")]

    told = compiled(CLASSIFIER, tmp_path, "\n".join(word for word, _, _ in wanted)).split()

    assert [f"{text}: {name}" for (_, text, _), name in zip(wanted, told, strict=True)] == [
        f"{text}: {name}" for _, text, name in wanted
    ]


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ("0 0 1 1 0 1", "mhmhhh"),  # two sets do not disturb each other
        ("0 2 0 2", "mmhh"),  # two ways hold two lines of a set
        ("0 2 4 0", "mmmm"),  # the third drives out the least recently used
        ("0 2 0 4 0 2", "mmhmhm"),  # use makes young: 4 drives out 2, not 0
    ],
)
def test_the_cache_forgets_the_least_recently_used_line_of_a_set(lines: str, wanted: str, tmp_path: Path) -> None:
    assert compiled(CACHE_DRIVER, tmp_path, lines) == wanted


# A program that marks, walks, marks, walks, marks and exits; `walk` takes one line of memory a turn.
#   movz x20,#0x4701; movk x20,#0x4544,lsl #16; mov x0,x20; mov x8,#29; svc 0; bl walk
#   add x0,x20,#1; svc 0; bl walk; add x0,x20,#2; svc 0; mov x0,#0; mov x8,#94; svc 0
# walk: movz x1,#0x1000,lsl #16; movz x2,#TURNS
#   1: ldr q0,[x1],#64; fmla v1.4s,v0.4s,v0.s[0]; fmla v1.4s,v0.4s,v0.4s; smlal v2.4s,v0.4h,v0.4h; stur x2,[x1,#-8]
#   madd x3,x2,x2,x2; fadd v3.4s,v0.4s,v0.4s; subs x2,x2,#1; b.ne 1b; ret
START = "d288e034 f2a8a894 aa1403e0 d28003a8 d4000001 94000009 91000680 d4000001 94000006 91000a80 d4000001 d2800000"
START += " d2800bc8 d4000001 d2a20001"
LOOP = "3cc40420 4f801001 4e20cc01 0e608002 f81f8022 9b020843 4e20d403 f1000442 54ffff01 d65f03c0"
TEXT_AT, DATA_AT, DATA_BYTES = 0x400000, 0x10000000, 1 << 22


def loop_program(turns: int, extra: str = "") -> bytes:
    """Return an ELF file for aarch64 with the program above; `extra` words run before it."""
    code = [*extra.split(), *START.split(), f"{0xD2800002 | turns << 5:08x}", *LOOP.split()]
    text = b"".join(struct.pack("<I", int(word, 16)) for word in code)
    header = 64 + 2 * 56
    elf = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    elf += struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, TEXT_AT + header, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    elf += struct.pack("<IIQQQQQQ", 1, 5, 0, TEXT_AT, TEXT_AT, header + len(text), header + len(text), 0x1000)
    elf += struct.pack("<IIQQQQQQ", 1, 6, 0, DATA_AT, DATA_AT, 0, DATA_BYTES, 0x1000)
    return elf + text


def emulated(program: bytes, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a program under QEMU."""
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("needs qemu-aarch64, of Debian 12's qemu-user")
    path = folder / "program"
    path.write_bytes(program)
    path.chmod(0o700)
    command = ["qemu-aarch64", "-cpu", CPU, *options, str(path)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)


def counted(program: bytes, folder: Path) -> dict[str, int]:
    """Return what the plug-in counts of a program."""
    try:
        plugin = plugin_path()
    except DeviceError as exc:
        pytest.skip(f"no plug-in: {exc}")
    out = folder / "counts, of a loop.json"
    done = emulated(program, folder, "-plugin", plugin_option(plugin, out=str(out)))
    if "plugin" in done.stderr:
        pytest.skip(f"this QEMU loads no plug-ins: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(out.read_text(encoding="ascii"))
    return found


@pytest.mark.parametrize(
    ("turns", "l1d_misses", "l2_misses"),
    [
        (256, 0, 0),  # 16 KiB stay in L1D from the walk before
        (1024, 1024, 0),  # 64 KiB are twice L1D, which thus forgets each line before its turn; L2 keeps them
        (32768, 32768, 32768),  # 2 MiB are twice L2
    ],
)
def test_a_loop_is_counted_exactly(turns: int, l1d_misses: int, l2_misses: int, tmp_path: Path) -> None:
    found = counted(loop_program(turns), tmp_path)

    assert found == {
        "simd_fma": turns,
        "simd_fma_plain": turns,
        "simd_intmul": turns,
        "simd_other": turns,
        "ld_vec": turns,
        "st_vec": 0,
        "ld_gpr": 0,
        "st_gpr": turns,
        "branch": turns + 2,  # bl and ret
        "int_mul": turns,
        "other": turns + 4,  # two movz before the loop, add and svc after it
        "insns": 9 * turns + 6,
        "mem": 3 * turns,  # QEMU loads 128 bits in two
        "l1d_miss": l1d_misses,
        "l2_miss": l2_misses,
        "elsewhere": 0,
    }


def test_an_instruction_of_a_newer_processor_is_illegal(tmp_path: Path) -> None:
    done = emulated(loop_program(1, extra="4e829420"), tmp_path)  # sdot v0.4s,v1.16b,v2.16b, Armv8.2

    assert done.returncode == -4  # SIGILL


def test_the_plugin_refuses_what_it_is_not_told(tmp_path: Path) -> None:
    try:
        plugin = plugin_path()
    except DeviceError as exc:
        pytest.skip(f"no plug-in: {exc}")
    done = emulated(loop_program(1), tmp_path, "-plugin", plugin_option(plugin, to="nowhere"))

    assert done.returncode != 0
    assert "expected out=FILE" in done.stderr

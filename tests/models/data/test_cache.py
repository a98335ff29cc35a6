"""The cache gives back what the source gave, survives a kill, and never passes half a set for a whole one."""

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from edge.models.data import cache
from edge.models.data.cache import cached
from edge.models.data.samples import FaceSample, SampleError, SpectrogramSample
from edge.models.data.synthetic_music import SyntheticMusic
from edge.runtime.errors import InputError, ResourceError


class Faces:
    """Pictures of any size with any number of boxes; every `broken_every`-th cannot be read."""

    family, label = "face", "test faces"

    def __init__(self, count: int, broken_every: int = 0, digest: str = "f00d", pause_s: float = 0.0) -> None:
        self.count, self.broken_every, self.digest, self.pause_s = count, broken_every, digest, pause_s

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> FaceSample:
        if self.broken_every and index % self.broken_every == 0:
            raise SampleError(f"`{index}.jpg` is no picture")
        time.sleep(self.pause_s)
        rng = np.random.default_rng(index)
        faces, height, width = index % 4, 3 + index % 5, 4 + index % 3
        return FaceSample(
            name=f"{index}.jpg",
            image=rng.integers(0, 256, (height, width, 3)).astype(np.uint8),
            boxes=rng.random((faces, 4), np.float32),
            landmarks=rng.random((faces, 5, 2), np.float32),
            has_landmarks=rng.random(faces) < 0.5,
            ignore=np.zeros(faces, np.bool_),
        )


class Tensors(Faces):
    family, label = "emotion", "test tensors"

    def __getitem__(self, index: int) -> SpectrogramSample:  # type: ignore[override]  # another kind of source
        tensor = np.full((1, 224, 224), index, np.float32)
        return SpectrogramSample(name=str(index), tensor=tensor, target=np.array([0.0, index], np.float32))


def quiet(line: str) -> None:
    assert line


def assert_same(left: FaceSample, right: FaceSample) -> None:
    for field in fields(FaceSample):
        one, other = getattr(left, field.name), getattr(right, field.name)
        if field.name == "name":
            assert one == other
        else:
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_a_cache_gives_back_every_ragged_sample(tmp_path: Path) -> None:
    source = Faces(9)
    lines: list[str] = []

    kept = cached(source, tmp_path, workers=1, say=lines.append)

    assert (kept.family, kept.label, kept.digest, len(kept)) == ("face", "test faces", "f00d", 9)
    for index in range(9):
        assert_same(kept[index], source[index])
    assert "rendered 9 of 9" in lines[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f00d", "f00d.lock"]
    with pytest.raises(IndexError):
        kept[9]


def test_two_processes_render_what_one_renders(tmp_path: Path) -> None:
    source = SyntheticMusic(2 * cache.SHARD + 7, 1, seconds=0.05)
    lines: list[str] = []

    kept = cached(source, tmp_path, workers=2, say=lines.append)

    assert len(lines) == 2
    assert len(kept) == len(source)
    for index in (0, cache.SHARD - 1, cache.SHARD, len(source) - 1):
        np.testing.assert_array_equal(kept[index].sound, source[index].sound)
        np.testing.assert_array_equal(kept[index].target, source[index].target)


def test_the_second_call_renders_nothing(tmp_path: Path) -> None:
    cached(Faces(3), tmp_path, workers=1, say=quiet)
    again = cached(Faces(3, broken_every=1), tmp_path, workers=1, say=lambda line: pytest.fail(line))

    assert_same(again[2], Faces(3)[2])


def test_broken_samples_are_left_out_and_the_label_says_how_many(tmp_path: Path) -> None:
    lines: list[str] = []

    kept = cached(Faces(10, broken_every=3), tmp_path, workers=1, say=lines.append)

    assert lines[-4:] == [f"left out: `{i}.jpg` is no picture" for i in (0, 3, 6, 9)]
    assert getattr(kept, "broken", None) == 4
    assert getattr(cached(Faces(10), tmp_path, workers=1, say=quiet), "broken", None) == 4
    assert kept.label == "test faces, 4 broken left out"
    assert [kept[index].name for index in range(len(kept))] == [f"{i}.jpg" for i in (1, 2, 4, 5, 7, 8)]


def test_of_many_broken_samples_the_first_few_are_told(tmp_path: Path) -> None:
    lines: list[str] = []

    cached(Faces(40, broken_every=2), tmp_path, workers=1, say=lines.append)

    assert sum(line.startswith("left out") for line in lines) == cache.SHOWN == 5


def test_a_set_without_a_usable_sample_is_refused_with_its_first_fault(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no sample of test faces can be used, got `0\.jpg` is no picture"):
        cached(Faces(4, broken_every=1), tmp_path, workers=1, say=quiet)


def test_samples_are_pickled_by_place_and_are_fresh_and_writable(tmp_path: Path) -> None:
    kept = cached(Tensors(5), tmp_path, workers=1, say=quiet)
    pickled = pickle.dumps(kept)
    copy = pickle.loads(pickled)

    assert len(pickled) < 10_000
    copy[3].tensor[:] = -1.0
    assert (copy[3].tensor == 3.0).all()
    assert copy[3].tensor.flags.writeable
    assert copy[3].target.tolist() == [0.0, 3.0]


def test_a_build_that_was_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    program = f"""
import sys; sys.path[:0] = {[str(Path(__file__).parent)]!r}
from pathlib import Path
from test_cache import Faces, cached
cached(Faces({4 * cache.SHARD}, pause_s=0.0005), Path({str(tmp_path)!r}), workers=1, say=print)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL) as process:
        while not (tmp_path / "f00d.part" / "00001.json").exists():
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
    assert not (tmp_path / "f00d").exists()

    class Rest(Faces):
        asked: list[int] = []

        def __getitem__(self, index: int) -> FaceSample:
            self.asked.append(index)
            return super().__getitem__(index)

    kept = cached(Rest(4 * cache.SHARD), tmp_path, workers=1, say=quiet)

    assert min(Rest.asked) >= 2 * cache.SHARD
    assert len(kept) == 4 * cache.SHARD
    assert_same(kept[3], Faces(4)[3])
    assert_same(kept[len(kept) - 1], Faces(0)[len(kept) - 1])


def test_an_interrupt_ends_all_workers_and_leaves_no_cache(tmp_path: Path) -> None:
    program = f"""
import sys; sys.path[:0] = {[str(Path(__file__).parent)]!r}
from pathlib import Path
from test_cache import Faces, cached
cached(Faces({4 * cache.SHARD}, pause_s=0.05), Path({str(tmp_path)!r}), workers=2, say=print)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        while len(list(tmp_path.glob("f00d.part/*.tmp"))) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate()  # the workers hold stderr open: it ends when all have gone

    assert process.returncode == -signal.SIGINT
    assert errors.count(b"Traceback") == 1
    assert not (tmp_path / "f00d").exists()
    assert not list(tmp_path.glob("f00d.part/*.tmp"))


def test_a_full_disk_is_a_resource_error_that_keeps_what_is_there(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))  # no file may grow beyond it: the error is EFBIG
    try:
        with pytest.raises(ResourceError, match="is full"):
            cached(Tensors(50), tmp_path, workers=1, say=quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not (tmp_path / "f00d").exists()

    assert cached(Tensors(50), tmp_path, workers=1, say=quiet)[49].target[1] == 49.0


def test_a_cache_that_was_cut_or_changed_is_refused(tmp_path: Path) -> None:
    kept = cached(Faces(9), tmp_path, workers=1, say=quiet)
    shard = tmp_path / "f00d" / "00000.bin"
    whole = shard.read_bytes()

    shard.write_bytes(whole[:-40])
    with pytest.raises(InputError, match="is damaged") as caught:
        cached(Faces(9), tmp_path, workers=1, say=quiet)
    assert "delete that folder" in str(caught.value.hint)
    with pytest.raises(SampleError, match="cut short"):
        kept[8]

    shard.write_bytes(whole)
    index = tmp_path / "f00d" / "index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "schema": 99}))
    with pytest.raises(InputError, match="is damaged"):
        cached(Faces(9), tmp_path, workers=1, say=quiet)

    index.write_text("[]")
    with pytest.raises(InputError, match="is damaged"):
        cached(Faces(9), tmp_path, workers=1, say=quiet)

    index.unlink()
    with pytest.raises(InputError, match="is damaged"):
        cached(Faces(9), tmp_path, workers=1, say=quiet)


def test_an_array_of_another_type_in_the_middle_is_refused(tmp_path: Path) -> None:
    class Mixed(Faces):
        def __getitem__(self, index: int) -> FaceSample:
            sample = super().__getitem__(index)
            if index == 5:
                object.__setattr__(sample, "boxes", sample.boxes.astype(np.float64))
            return sample

    with pytest.raises(InputError, match=r"`5\.jpg` does not fit"):
        cached(Mixed(9), tmp_path, workers=1, say=quiet)


@pytest.mark.parametrize("torn", ["", '{"head": ["Fa', "[]", "{}"])
def test_a_shard_whose_index_is_torn_is_rendered_again(tmp_path: Path, torn: str) -> None:
    part = tmp_path / "f00d.part"
    part.mkdir()
    (part / "00000.bin").write_bytes(bytes(99))
    (part / "00000.json").write_text(torn)

    kept = cached(Faces(9), tmp_path, workers=1, say=quiet)

    assert_same(kept[8], Faces(9)[8])


def test_a_set_that_was_broken_and_is_mended_is_rendered(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sample"):
        cached(Faces(4, broken_every=1), tmp_path, workers=1, say=quiet)

    assert len(cached(Faces(4), tmp_path, workers=1, say=quiet)) == 4

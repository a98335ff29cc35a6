"""A person or a face that is clear to one engine must be found by the other; what lies at the threshold may differ."""

from __future__ import annotations

from dataclasses import replace

from findings import only_one_finds

from edge.runtime.results import Face, Keypoint, Person, Result

FACE = Face(box_xyxy=(10.0, 10.0, 50.0, 60.0), score=0.9, landmarks=((20.0, 20.0),) * 5)
PERSON = Person(keypoints=tuple(Keypoint(10.0 * i, 5.0 * i, 0.8) for i in range(18)), score=300.0)


def test_equal_results_agree_and_are_counted_on_both_sides() -> None:
    both = _result(faces=(FACE,), people=(PERSON,))

    assert only_one_finds(both, both, 0.5, 640) == (4, [])


def test_a_clear_face_that_the_other_lacks_is_named() -> None:
    clear, lonely = only_one_finds(_result(faces=(FACE,)), _result(), 0.5, 640)

    assert clear == 1
    assert lonely == ["only the host finds the face of score 0.90 at 10, 10, 50, 60"]


def test_a_face_elsewhere_is_no_partner_but_one_a_pixel_off_is() -> None:
    elsewhere = replace(FACE, box_xyxy=(20.0, 10.0, 60.0, 60.0))
    near = replace(FACE, box_xyxy=(11.0, 10.0, 51.0, 60.0))

    assert len(only_one_finds(_result(faces=(FACE,)), _result(faces=(elsewhere,)), 0.5, 640)[1]) == 2
    assert only_one_finds(_result(faces=(FACE,)), _result(faces=(near,)), 0.5, 640)[1] == []


def test_a_face_at_the_threshold_may_come_or_go() -> None:
    weak = replace(FACE, score=0.59)

    assert only_one_finds(_result(faces=(weak,)), _result(), 0.5, 640) == (0, [])


def test_a_person_whose_joints_lie_elsewhere_has_no_partner() -> None:
    moved = replace(
        PERSON, keypoints=tuple(None if p is None else Keypoint(p.x + 14, p.y, p.score) for p in PERSON.keypoints)
    )

    assert len(only_one_finds(_result(people=(PERSON,)), _result(people=(moved,)), 0.5, 640)[1]) == 2
    assert only_one_finds(_result(people=(PERSON,)), _result(people=(moved,)), 0.5, 1000)[1] == []


def _result(faces: tuple[Face, ...] = (), people: tuple[Person, ...] = ()) -> Result:
    return Result(kind="faces", faces=faces, people=people)

"""What is in front hides what is behind, glass lets it through, and equal input gives equal pictures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dicomseg.draw.render import Camera, Part, look_from, render
from dicomseg.draw.surface import Mesh

RED, BLUE = (0.9, 0.2, 0.2), (0.1, 0.2, 0.7)


def ball(centre: tuple[float, float, float], radius: float = 10.0, steps: int = 24) -> Mesh:
    """A sphere, faces outwards."""
    polar, around = np.meshgrid(
        np.linspace(0, np.pi, steps), np.linspace(0, 2 * np.pi, 2 * steps + 1), indexing="ij"
    )
    unit = np.stack(
        [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=-1
    )
    number = np.arange(unit[..., 0].size).reshape(polar.shape)
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[:-1, 1:], number[1:, 1:]
    faces = np.concatenate([np.stack(f, axis=-1).reshape(-1, 3) for f in ((a, b, c), (c, b, d))])
    points = unit.reshape(-1, 3) * radius + np.array(centre)
    return Mesh(points.astype(np.float32), faces.astype(np.int32))


def from_front(width: int = 120) -> Camera:
    return Camera(look_from(0, 0), (0.0, 0.0, 0.0), 30.0, (width, 100))


def dominant(rgb: np.ndarray, x: int, y: int) -> str:
    return "rgb"[int(np.argmax(rgb[y, x]))]


@pytest.mark.parametrize("order", [0, 1])
def test_the_front_part_hides_the_other_whatever_their_order(order: int) -> None:
    parts = [Part(ball((0, -15, 0)), RED), Part(ball((0, 15, 0)), BLUE)]  # front is −y
    rgb, part = render(parts[:: 1 - 2 * order], [], from_front())
    assert dominant(rgb, 60, 50) == "r"
    assert part[50, 60] == order
    back = Camera(look_from(180, 0), (0.0, 0.0, 0.0), 30.0, (120, 100))
    assert dominant(render(parts, [], back)[0], 60, 50) == "b"


def test_a_ball_covers_the_pixels_of_its_circle() -> None:
    rgb, part = render([Part(ball((10.0, 0.0, 2.0)), RED)], [], from_front(240))
    rows, columns = np.nonzero(part == 0)
    pixel_mm = 60 / 240
    assert len(rows) * pixel_mm**2 == pytest.approx(np.pi * 100, rel=0.02)
    # the patient's left is on the right of a view from the front, the head is up
    assert columns.mean() * pixel_mm - 30 == pytest.approx(10.0, abs=0.3)
    assert 12.5 - rows.mean() * pixel_mm == pytest.approx(2.0, abs=0.3)
    assert (rgb[part < 0] >= 250).mean() > 0.99


def test_the_projection_is_where_the_part_is_drawn() -> None:
    camera = Camera(look_from(38, 10), (3.0, -4.0, 5.0), 30.0, (160, 120))
    spot = (12.0, -9.0, 11.0)
    _, part = render([Part(ball(spot, 2.0), RED)], [], camera)
    rows, columns = np.nonzero(part == 0)
    x, y, _ = camera.project(np.array(spot))
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((x, y), abs=1.0)


def test_glass_tints_what_is_behind_it_and_hides_nothing_in_front() -> None:
    inner, shell = Part(ball((0, 0, 0), 5.0), BLUE), Part(ball((0, 0, 0), 12.0), RED)
    plain, _ = render([inner], [], from_front())
    seen, _ = render([inner], [shell], from_front())
    assert (seen[50, 60].astype(int) != plain[50, 60]).any()
    assert dominant(seen, 60, 50) == "b"
    assert (seen[50, 79] != 255).any()
    assert (plain[50, 79] == 255).all()
    in_front = Part(ball((0, -20, 0), 5.0), BLUE)
    hidden, _ = render([in_front], [shell], from_front())
    alone, _ = render([in_front], [], from_front())
    assert np.array_equal(hidden[50, 60], alone[50, 60])


def test_axes_of_a_view_are_right_handed_and_look_from_the_left_front() -> None:
    axes = look_from(38, 10)
    assert axes @ axes.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1.0)
    assert axes[2, 0] > 0
    assert axes[2, 1] < 0
    assert axes[2, 2] > 0


def test_threads_draw_the_same_bytes_and_other_input_draws_others() -> None:
    parts = [Part(ball((0, 0, 0)), RED)]
    with ThreadPoolExecutor(3) as pool:
        pictures = list(pool.map(lambda _: render(parts, [], from_front())[0].tobytes(), range(3)))
    assert len(set(pictures)) == 1
    other, _ = render([Part(ball((1.0, 0, 0)), RED)], [], from_front())
    assert other.tobytes() != pictures[0]


def test_nothing_to_draw_is_an_empty_picture() -> None:
    rgb, part = render([], [], from_front())
    assert (rgb == 255).all()
    assert (part == -1).all()

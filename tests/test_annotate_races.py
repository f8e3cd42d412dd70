"""The page of `imltool annotate` with slow responses, several tabs or a killed server: nothing is lost or mixed up.

Requests are held back (`HeldRequests`), so that the order of events does not depend on the speed of the machine.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.annotate_page import TALL, WIDE, arrive, at, boxes, drag, expect, go, make, saved, until
from helpers.page_server import Annotating

pytestmark = pytest.mark.slow


class HeldRequests:
    """Requests of a page that are held back until `release`."""

    def __init__(self, page: Any, requests: str) -> None:
        self.routes: list[Any] = []
        self._free = False
        page.route(requests, self._take)

    def _take(self, route: Any) -> None:
        if self._free:
            route.continue_()
        else:
            self.routes.append(route)

    def release(self) -> None:
        self._free = True
        for route in self.routes:
            route.continue_()


def server_boxes(server: Annotating, index: int) -> list[list[float]]:
    """Boxes stored by the server, as fractions of the picture's sides."""
    found = server.ask(f"api/pictures/{index}")[1]["boxes"]
    return [[side / whole for side, whole in zip(box["box"], (WIDE, TALL) * 2, strict=True)] for box in found]


def test_two_tabs_do_not_overwrite_each_other(shared: Annotating, pages: Any) -> None:
    first, second = pages(shared.address), pages(shared.address)
    go(first, 0)
    go(second, 0)
    second.route("**/api/pictures/0", lambda route: route.abort())  # a tab that gets the focus polls for changes
    drag(first, (0.2, 0.2), (0.5, 0.5))
    saved(first)
    drag(second, (0.6, 0.6), (0.9, 0.9))
    expect(second.locator("#message")).to_contain_text("changed in another tab")
    expect(boxes(second)).to_have_count(1)
    (theirs,) = server_boxes(shared, 0)
    assert theirs == pytest.approx([0.2, 0.2, 0.5, 0.5], abs=0.02), "the second tab has overwritten the first"
    second.locator("#message button").click()
    saved(second)
    (mine,) = server_boxes(shared, 0)
    assert mine == pytest.approx([0.6, 0.6, 0.9, 0.9], abs=0.02)
    second.keyboard.press("z")
    saved(second)
    assert server_boxes(shared, 0) == [theirs], "nothing is lost"
    drag(second, (0.6, 0.6), (0.9, 0.9))
    saved(second)
    first.evaluate("() => dispatchEvent(new Event('focus'))")
    expect(boxes(first)).to_have_count(2)


def test_boxes_drawn_during_a_refused_change_can_be_restored(shared: Annotating, pages: Any) -> None:
    first, second = pages(shared.address), pages(shared.address)
    go(first, 1)
    go(second, 1)
    changes = HeldRequests(second, "**/change")
    drag(second, (0.1, 0.1), (0.3, 0.3))
    until(second, lambda: changes.routes)
    drag(second, (0.6, 0.1), (0.8, 0.3))
    drag(first, (0.4, 0.6), (0.6, 0.9))
    saved(first)
    changes.release()
    expect(second.locator("#message")).to_contain_text("changed in another tab")
    assert len(server_boxes(shared, 1)) == 1
    second.locator("#message button").click()
    saved(second)
    first_box, second_box = server_boxes(shared, 1)
    assert first_box[0] == pytest.approx(0.1, abs=0.02) and second_box[0] == pytest.approx(0.6, abs=0.02)


def test_change_with_a_lost_response_is_not_a_conflict(shared: Annotating, pages: Any) -> None:
    page = pages(shared.address)
    go(page, 2)
    lost: list[Any] = []

    def lose(route: Any) -> None:
        lost.append(route.fetch())  # the server has saved it, the page gets no response
        route.abort()

    page.route("**/change", lose, times=1)
    drag(page, (0.2, 0.2), (0.5, 0.5))
    expect(page.locator("#status")).to_contain_text("not saved")
    saved(page)
    assert lost[0].status == 200 and len(server_boxes(shared, 2)) == 1
    expect(page.locator("#message")).to_be_hidden()
    drag(page, (0.6, 0.6), (0.9, 0.9))
    saved(page)
    assert len(server_boxes(shared, 2)) == 2
    assert shared.ask("api/pictures/2")[1]["revision"] == 2


def test_only_the_last_position_of_a_moving_box_is_requested(shared: Annotating, pages: Any) -> None:
    page = pages(shared.address)
    go(page, 3)
    asked: list[Any] = []
    page.on("request", lambda request: asked.append(request) if request.url.endswith("/mask") else None)
    masks = HeldRequests(page, "**/mask")
    drag(page, (0.3, 0.3), (0.6, 0.6))
    until(page, lambda: masks.routes)
    for _ in range(8):
        page.keyboard.press("Shift+ArrowRight")
    masks.release()
    expect(boxes(page, "proposed")).to_have_count(1)
    saved(page)
    assert len(asked) == 2
    body = asked[-1].post_data_json
    assert body["box"] == shared.ask("api/pictures/3")[1]["boxes"][0]["box"]


def test_pending_undo_is_not_saved_and_applies_to_its_picture(tmp_path: Path, pages: Any) -> None:
    running = Annotating(make(tmp_path / "set", 2), "--out", tmp_path / "boxes.json")
    page = pages(running.address)
    drag(page, (0.2, 0.2), (0.5, 0.5))
    saved(page)
    drag(page, (0.6, 0.6), (0.9, 0.9))
    saved(page)
    steps = HeldRequests(page, "**/step")
    page.keyboard.press("z")
    expect(page.locator("#status")).to_contain_text("saving")
    until(page, lambda: steps.routes)
    drag(page, (0.1, 0.6), (0.3, 0.9))  # applies to the state after the undo
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(200)
    at(page, "0.png")  # waits for the answer
    steps.release()
    arrive(page, "ArrowRight", "1.png")
    saved(page)
    expect(boxes(page)).to_have_count(0)
    assert [round(box[0], 1) for box in server_boxes(running, 0)] == [0.2, 0.1]
    page.keyboard.press("ArrowLeft")
    arrive(page, "ArrowLeft", "0.png")
    expect(boxes(page)).to_have_count(2)
    running.end()


def test_server_kill_between_clicks_loses_nothing(tmp_path: Path, pages: Any) -> None:
    root = make(tmp_path / "set", 2)
    command = (root, "--out", tmp_path / "boxes.json", "--annotator", "anna")
    first = Annotating(*command)
    page = pages(first.address)
    drag(page, (0.2, 0.2), (0.5, 0.5))
    saved(page)
    drag(page, (0.6, 0.6), (0.9, 0.9))
    saved(page)
    first.kill()
    drag(page, (0.1, 0.6), (0.3, 0.9))
    expect(page.locator("#status")).to_contain_text("not saved: the server does not answer")
    again = Annotating(*command)
    assert again.address != first.address
    other = pages(again.address)
    go(other, 0)
    expect(boxes(other)).to_have_count(2)
    other.keyboard.press("z")
    expect(boxes(other)).to_have_count(1)
    saved(other)
    again.kill()
    assert [len(state["boxes"]) for state in contents(tmp_path)] == [1, 2, 1]
    last = Annotating(*command)
    last.end()
    assert len(json.loads((tmp_path / "boxes.json").read_text())["annotations"]) == 1
    page.close(run_before_unload=False)


def contents(folder: Path) -> list[dict[str, Any]]:
    """The states in the journals, one per change."""
    lines = [line for path in sorted((folder / "boxes.journal").iterdir()) for line in path.read_text().splitlines()]
    return [row["content"] for row in map(json.loads, lines) if row["event"] == "state"]

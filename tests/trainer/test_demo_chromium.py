"""The click page in headless Chromium."""

import time

import numpy as np
import pytest

from eval.drawing import identity_color
from tests.chromium import chromium, find_chromium
from tests.demo_serving import HEIGHT, NUM_FRAMES, STEP, WIDTH, serving, write_grey_clip


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_grey_clip(tmp_path_factory.mktemp("video"))


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path / "served") as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    command = find_chromium()
    if command is None:
        pytest.skip("there is no Chromium (apt-get install chromium, or CHROMIUM=path)")
    with chromium(command, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def colour_at(browser, x, y):
    """RGB on the page's canvas at a place in source pixels."""
    place = f"{x} * canvas.width / {WIDTH}, {y} * canvas.height / {HEIGHT}"
    return np.array(browser.run(f"[...canvas.getContext('2d').getImageData({place}, 1, 1).data]")[:3])


def is_near(colour, expected, tolerance=40):
    return np.abs(colour.astype(int) - expected).max() < tolerance


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 390])
def test_upload_click_and_see_tracks_in_chromium(server, browser, video, tmp_path, width):
    browser.resize(width, 850)
    browser.open(server.address)
    assert browser.run("getComputedStyle($('work')).display") == "none"
    notes = tmp_path / "notes.txt"
    notes.write_text("no video")
    browser.choose_file("#file", notes)
    browser.wait("$('message').textContent.startsWith('notes.txt')")
    browser.choose_file("#file", video)
    browser.wait("state.mode === 'edit'")
    assert browser.run("$('message').hidden && $('track').disabled && $('about').textContent") == (
        "grey clip.mp4: 8 frames, 96 x 64"
    )
    for x, y in ((30, 20), (60, 40), (80, 10)):
        browser.click("#canvas", (x / WIDTH, y / HEIGHT))
    browser.click("#canvas", (80 / WIDTH, 10 / HEIGHT))  # again: it goes
    assert browser.run("$('points').childElementCount") == 2
    clicked = browser.run("state.points.map((p) => [p.t, p.x, p.y])")
    np.testing.assert_allclose(clicked, [[0, 30, 20], [0, 60, 40]], atol=0.5)
    assert is_near(colour_at(browser, 30, 20), identity_color(0))
    assert is_near(colour_at(browser, 60, 40), identity_color(1))
    assert not is_near(colour_at(browser, 80, 10), identity_color(2))
    browser.click("#track")
    browser.wait("state.mode === 'result' && state.isPlaying")
    first = browser.run("state.frame")
    browser.wait(f"state.frame !== {first}")
    browser.click("#play")
    browser.run("seek(5)")
    (x0, y0), (x1, y1) = (np.array(start) + 5 * STEP for start in [place[1:] for place in clicked])
    # Uncertainty 0.25 leaves 81 % of the colour over the grey of frame 5.
    expected = np.array(identity_color(0)) * 0.8125 + 90 * 0.1875
    assert is_near(colour_at(browser, x0, y0), expected), "filled: the first point is visible"
    assert np.ptp(colour_at(browser, x1, y1)) < 40, "hollow: the second one is hidden"
    assert np.ptp(colour_at(browser, x0 - 2 * STEP[0], y0 - 2 * STEP[1])) > 40, "the trail"
    assert np.ptp(colour_at(browser, 88, 8)) < 10, "nothing else is drawn"
    assert browser.run("document.documentElement.scrollWidth") <= width
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "downloads"))
    for kind in ("csv", "npz", "mp4"):
        browser.click(f"#{kind}")
        wait_for(tmp_path / "downloads" / f"grey_clip_tracks.{kind}")
    table = (tmp_path / "downloads" / "grey_clip_tracks.csv").read_text().splitlines()
    assert len(table) == 1 + 2 * NUM_FRAMES
    browser.click("#edit")
    assert browser.run("state.mode") == "edit" and browser.run("state.points.length") == 2
    assert not [line for line in browser.log if "exception" in line or '"error"' in line], browser.log


def wait_for(path):
    deadline = time.monotonic() + 30
    while not path.is_file():
        assert time.monotonic() < deadline, f"{path.name} was not downloaded"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_grid_and_points_of_two_frames_in_chromium(server, browser, video):
    browser.resize(1400, 850)
    browser.open(server.address)
    browser.choose_file("#file", video)
    browser.wait("state.mode === 'edit'")
    browser.run("$('side').value = 3")
    browser.click("#grid")
    browser.run("$('frame').value = 4; $('frame').oninput()")
    browser.click("#canvas", (0.5, 0.25))
    points = np.array(browser.run("state.points.map((p) => [p.t, p.x, p.y])"))
    assert points[:, 0].tolist() == [0] * 9 + [4]
    np.testing.assert_allclose(
        points[:9, 1:], [[16 + 32 * i, 10.7 + 21.3 * j] for j in range(3) for i in range(3)], atol=0.2
    )
    browser.click("#points li:nth-child(5) button:last-child")
    assert browser.run("$('count').textContent") == "Points (9)"
    browser.click("#track")
    browser.wait("state.mode === 'result'")
    assert browser.run("state.rows.map((row) => row.size)") == [8, 8, 8, 8, 9, 9, 9, 9]
    browser.click("#edit")
    browser.click("#clear")
    assert browser.run("$('track').disabled && $('points').childElementCount === 0")


@pytest.mark.slow
def test_a_server_that_is_gone_is_one_clear_line_in_chromium(browser, video, tmp_path):
    browser.resize(1400, 850)
    with serving(tmp_path / "served", max_frames=5) as server:
        browser.open(server.address)
        browser.choose_file("#file", video)
        browser.wait("state.mode === 'edit'")
        assert "too long" in browser.run("$('message').textContent")
        browser.click("#canvas", (0.5, 0.5))
    browser.click("#track")
    browser.wait("$('message').textContent.startsWith('The server does not answer')")
    assert browser.run("state.mode") == "edit" and browser.run("state.points.length") == 1

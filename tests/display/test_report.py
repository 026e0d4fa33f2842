import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.display import report
from bdsynth.display.plot import line_plot
from bdsynth.display.report import Picture, Plot, Table, Text, Viewer, embed_image, write_report
from bdsynth.display.video import write_video
from bdsynth.errors import InputError
from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton

EVIL = "</script><img src=x onerror=alert(1)><!-- \" ' & @@SCRIPT@@"
VOID = {"meta", "img", "input", "br", "line", "path"}


class Page(HTMLParser):
    """Collects elements, and fails on tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.data, self.words = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data
        if self.open and self.open[-1] == "script":
            self.data.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(tmp_path, *sections, title="Report", command=""):
    path = write_report(tmp_path / "report.html", title, sections, command)
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def decoded(data):
    whole = np.frombuffer(base64.b64decode(data["positions"]), "<i2").astype(np.float64)
    whole[whole == -32768] = np.nan
    return whole.reshape(data["frames"], data["joints"], data["dims"]) * data["step"] + data["offset"]


def viewer_data(page):
    return [json.loads(text) for text in page.data if text.startswith("{")]


def test_a_page_with_everything_is_self_contained(tmp_path, make_person):
    text, page = page_of(
        tmp_path,
        Text("First.\n\nSecond."),
        Viewer({"a": make_person(), "b": make_person(5)}, title="Motions", caption="Two."),
        Table([["x", 1.23456, 3], ["y", None, 4]], ["name", "value", "n"]),
        Plot({"speed": np.arange(10.0)}, x_label="t", y_label="v"),
        Picture(np.zeros((4, 6, 3), np.uint8), caption="black"),
        title="A title",
        command=["bdsynth", "transfer", "two words.bvh"],
    )
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text.replace(" //", ""))
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert name not in attributes or attributes[name].startswith("data:")
    assert "bdsynth transfer 'two words.bvh'" in page.words
    assert "A title" in page.words and "numpy" in page.words
    assert "1.235" in page.words and "–" in page.words
    assert len(page.all("p")) >= 4 and len(page.all("table")) == 1 and len(page.all("img")) == 1


def test_the_policy_allows_the_pages_own_script_and_nothing_else(tmp_path):
    _, page = page_of(tmp_path, Text("x"))
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(page.data[-1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_no_text_can_become_markup(tmp_path, make_person):
    plain, _ = page_of(tmp_path, Text("x"))
    text, page = page_of(
        tmp_path,
        Text(EVIL, title=EVIL),
        Viewer({EVIL: make_person().replace(name=EVIL)}, EVIL, EVIL, {EVIL: [EVIL]}),
        Table([[EVIL, 1.0]], [EVIL, "n"], EVIL, EVIL),
        Plot({EVIL: np.arange(3.0)}, None, EVIL, EVIL, EVIL, EVIL),
        Picture(np.zeros((4, 4), np.uint8), EVIL, EVIL),
        title=EVIL,
        command=EVIL,
    )
    assert [a for a in page.all("img") if "onerror" in a or a["src"] == "x"] == []
    assert "<!-- " not in text
    assert len(page.all("script")) == 2  # the motions and the viewer
    assert viewer_data(page)[0]["panels"][0]["caption"] == EVIL
    assert page.words.count("@@SCRIPT@@") >= 8  # told apart from the page's own places
    assert plain.count("const FOCAL") == text.count("const FOCAL") == 1


def test_positions_come_back_within_a_millimeter(tmp_path, make_person):
    motion = make_person(50, speed=10.0)
    _, page = page_of(tmp_path, Viewer({"a": motion}))
    data = viewer_data(page)[0]["motions"][0]
    assert data["step"] == 0.001 and data["fps"] == 25 and data["name"] == "a"
    assert np.abs(decoded(data) - motion.positions).max() < 0.00051


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["m", "px", "normalized"]), st.floats(0.1, 2000))
def test_positions_come_back_within_half_a_step(seed, unit, scale):
    random = np.random.default_rng(seed)
    dims = 3 if unit == "m" else 2
    positions = random.normal(size=(4, 17, dims)) * scale
    confidence = (random.random((4, 17)) > 0.2).astype(float)
    positions[confidence == 0] = np.nan
    motion = Motion(positions, get_skeleton("h36m_17"), 25, unit, confidence)
    data = report._motion_data("a", motion)
    found = decoded(data)
    assert np.array_equal(np.isnan(found).any(-1), confidence == 0)
    seen = confidence > 0
    assert np.abs(found - motion.positions)[seen].max() <= 0.51 * data["step"] + 1e-6 * scale
    assert data["step"] <= max(0.001, 1e-4 * np.ptp(positions[seen], axis=0).max())
    json.dumps(data, allow_nan=False)


def test_what_the_viewer_is_told(tmp_path, make_person):
    motions = {"a": make_person(), "b": make_person(), "c": make_person()}
    _, page = page_of(tmp_path, Viewer(motions, groups={"both": ["a", "c"], "alone": ["b"]}))
    data = viewer_data(page)[0]
    assert data["panels"] == [{"caption": "both", "motions": [0, 2]}, {"caption": "alone", "motions": [1]}]
    sides = {bone[2] for bone in data["motions"][0]["bones"]}
    assert sides == {"left", "right", "center"} and len(data["motions"][0]["bones"]) == 16


@pytest.mark.parametrize(
    "section,match",
    [
        (Viewer({}), "without motions"),
        (Table([[1, 2]], ["a"]), "2 cells"),
        (Plot({}), "no finite value"),
        (Plot({"a": [np.nan]}), "no finite value"),
        (Plot({"a": [1, 2]}, x=[1]), "'a' has 2 values"),
        (Picture("absent.png"), "absent.png"),
        (Picture(np.zeros((2, 2, 3))), "uint8"),
        (Picture(np.zeros((2, 2, 5), np.uint8)), "uint8"),
    ],
)
def test_what_cannot_be_shown_leaves_no_file(tmp_path, section, match):
    with pytest.raises(InputError, match=match):
        write_report(tmp_path / "report.html", "x", [section])
    assert list(tmp_path.iterdir()) == []


def test_unknown_groups_and_too_much_motion(tmp_path, make_person, monkeypatch):
    motion = make_person()
    with pytest.raises(InputError, match="did you mean 'walk'"):
        write_report(tmp_path / "r.html", "x", [Viewer({"walk": motion}, groups={"g": ["wolk"]})])
    with pytest.raises(InputError, match="group 'g' has no motion"):
        write_report(tmp_path / "r.html", "x", [Viewer({"walk": motion}, groups={"g": []})])
    monkeypatch.setattr(report, "MAX_MOTIONS", 1000)
    with pytest.raises(InputError, match="resample"):
        write_report(tmp_path / "r.html", "x", [Viewer({"walk": motion})])
    with pytest.raises(InputError, match="cannot be written"):
        write_report(tmp_path / "nowhere" / "r.html", "x", [])


def test_pictures_are_known_by_their_content(tmp_path, monkeypatch):
    frames = [np.full((16, 16, 3), 10 * t, np.uint8) for t in range(4)]
    assert embed_image(frames[0]).startswith("data:image/png;base64,")
    assert embed_image(write_video(tmp_path / "a.gif", frames, 10)).startswith("data:image/gif")
    video = write_video(tmp_path / "a.mp4", frames, 10)
    assert embed_image(video).startswith("data:video/mp4")
    _, page = page_of(tmp_path, Picture(video, caption="clip"))
    assert "controls" in page.all("video")[0]
    (tmp_path / "a.png").write_text("<svg onload='alert(1)'>")
    with pytest.raises(InputError, match=r"a\.png: not a PNG"):
        embed_image(tmp_path / "a.png")
    monkeypatch.setattr(report, "MAX_PICTURE", 100)
    for source in (video, np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)):
        with pytest.raises(InputError, match="too large"):
            embed_image(source)


def curve(svg):
    """Points of the first curve in viewBox units."""
    return np.array([[float(v) for v in p.split()] for p in re.findall(r"[ML]([-\d.]+ [-\d.]+)", svg)])


def test_a_curve_rises_where_the_values_rise():
    points = curve(line_plot({"a": np.linspace(3, 5, 7)}, np.linspace(0, 1, 7)))
    assert len(points) == 7 and points[0, 0] == 0 and points[-1, 0] == 1000
    assert (np.diff(points[:, 1]) < 0).all() and (0 <= points).all() and (points <= 1000).all()


def test_gaps_stay_gaps_and_long_curves_keep_their_peaks():
    gap = line_plot({"a": np.array([1, 2, np.nan, 3, 4])})
    assert gap.count("M") == 2
    values = np.zeros(50_000)
    values[31_337] = 1
    points = curve(line_plot({"a": values}))
    assert len(points) < 5000 and points[:, 1].min() < points[:, 1].max() - 500


@pytest.mark.parametrize(
    "values,words",
    [
        ([0, 10], {"0", "2", "10"}),
        ([-1e-7, 1e-7], {"1e-07"}),
        ([0.5], {"0.4", "0.5"}),
        ([0, 0.25], {"0.05", "0.25"}),
        ([0, 13], {"2.5", "7.5"}),
        ([1e6, 3e6], {"2e+06"}),
    ],
)
def test_axes_have_round_numbers(values, words):
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", line_plot({"a": np.array(values)}))
    assert words <= set(labels)


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=20))
def test_any_numbers_can_be_plotted(values):
    points = curve(line_plot({"a": np.array(values)}))
    assert len(points) == len(values) and np.isfinite(points).all()

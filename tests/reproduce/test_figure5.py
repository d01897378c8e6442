"""The sweep over T: reports averaged by hand, a real report, plots and refusals."""

import pytest

from fcp.errors import FcpError
from fcp.evaluation.episode_counts import EpisodeDraw
from fcp.evaluation.evaluate import evaluate
from fcp.evaluation.report import make_card, to_json
from fcp.reproduce.figure5 import SweepPoint, plot_sweep, sweep


def report(miou, recall=None, precision=None):
    masks = {"conventional": {"recall": 0.1, "precision": 0.1}}
    if recall is not None:
        masks["attention"] = {"recall": recall, "precision": precision}
    return {"miou": miou, "pseudo_masks": masks}


REPORTS = [
    (3, report(0.6, 0.7, 0.5)),
    (1, report(0.4)),
    (3, report(0.8, 0.9, 0.3)),
    (1, report(0.5)),
]


def test_reports_of_one_t_are_averaged():
    one, three = sweep(REPORTS)
    assert one == SweepPoint(1, 2, pytest.approx(0.45), 0.4, 0.5, None, None)
    expected = (pytest.approx(0.7), 0.6, 0.8, pytest.approx(0.8), pytest.approx(0.4))
    assert three == SweepPoint(3, 2, *expected)


def test_a_real_report_is_read(predictor, model_folder, data, episodes):
    result = evaluate(predictor, data, episodes[:2], image_size=64)
    card = make_card(
        data,
        EpisodeDraw(1, 0),
        shots=1,
        episode_sha256="",
        model_folder=model_folder,
        sampler="classic",
    )
    (point,) = sweep([(3, to_json(result, {EpisodeDraw(1, 0): card}))])
    assert point.miou == result.square.miou
    assert point.recall == result.pseudo_masks["attention"].recall
    assert point.precision == result.pseudo_masks["attention"].precision


@pytest.mark.parametrize(
    ("reports", "message"),
    [
        ([], "for each T, got none"),
        (REPORTS[:3], "for each T, got T=1: 1, T=3: 2"),
        ([(2, {"miou": 0.5})], "a report of T=2 has no such score: 'pseudo_masks'"),
        ([(2, {"miou": "high", "pseudo_masks": {}})], "a report of T=2 has no such score"),
    ],
)
def test_what_cannot_be_averaged_is_refused(reports, message):
    with pytest.raises(FcpError, match=f"figure 5: .*{message}"):
        sweep(reports)


def test_plot_is_drawn(tmp_path, assert_drawn):
    points = sweep(REPORTS)
    plot_sweep({"refreshed": points, "once": points[1:]}, tmp_path / "a.png")
    plot_sweep({"refreshed": points}, tmp_path / "b.png")
    assert_drawn(tmp_path / "a.png")
    assert_drawn(tmp_path / "b.png")
    for series in ({"refreshed": ()}, dict.fromkeys("abcde", points)):
        with pytest.raises(FcpError, match="figure 5: expected 1 … 4 series"):
            plot_sweep(series, tmp_path / "c.png")

"""Metrics of ranked lists on 1,000 random lists with ties, against trec_eval and scikit-learn."""

import numpy as np
import pytest
import pytrec_eval
import torch
from fmlab_metrics.ranking import F1, HR, MAP, MRR, NDCG, Hit, ListAUC, Precision, Recall, RPrecision
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from fmlab.contracts import Ranks
from fmlab.errors import DataError
from fmlab.evaluation.ranks import rank_among

CUTS = (1, 5, 10, 100)  # no list has 100 items


class Cases:
    """Lists of 3 to 40 items with whole scores from 0 to 9, 0 to 6 of them relevant with labels 1 to 5."""

    def __init__(self, ties: str) -> None:
        rng = np.random.default_rng(0)
        self.scores, self.labels, self.ranks = [], [], []
        for _ in range(1000):
            n = int(rng.integers(3, 41))
            score, label = rng.integers(0, 10, n).astype(np.float32), np.zeros(n, np.int64)
            label[rng.choice(n, min(n, int(rng.integers(0, 7))), replace=False)] = 1
            label *= rng.integers(1, 6, n)
            if not label.any():
                continue  # a user without relevant items has no list
            at = np.flatnonzero(label)
            others = torch.from_numpy(np.tile(score, (len(at), 1)))
            own, before = torch.from_numpy(score[at]).unsqueeze(1), torch.from_numpy(np.arange(n) < at[:, None])
            found = rank_among(others, own, ties, itself=True, before=before).numpy()
            order = np.argsort(found, kind="stable")
            self.ranks.append(found[order])
            self.scores.append(score)
            self.labels.append(label)
        self.view = view(self.ranks)
        self.gains = np.concatenate([self.in_order(s, lab) for s, lab in zip(self.scores, self.labels, strict=True)])

    def in_order(self, score: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Labels of the relevant items as scores order them."""
        found = label[np.lexsort((np.arange(len(score)), -score))]
        return found[found > 0]

    def trec(self, *measures: str) -> dict[str, np.ndarray]:
        """trec_eval on the order of scores, equal ones by number."""
        truth, run = {}, {}
        for n, (score, label) in enumerate(zip(self.scores, self.labels, strict=True)):
            order = np.lexsort((np.arange(len(score)), -score))
            truth[str(n)] = {str(i): int(label[i]) for i in np.flatnonzero(label)}
            run[str(n)] = {str(i): -float(place) for place, i in enumerate(order)}
        found = pytrec_eval.RelevanceEvaluator(truth, set(measures)).evaluate(run)
        names = found["0"]
        return {name: np.array([found[str(n)][name] for n in range(len(self.scores))]) for name in names}


def view(ranks: list) -> Ranks:
    return Ranks(np.concatenate(ranks).astype(np.float64), np.r_[0, np.cumsum([len(r) for r in ranks])])


@pytest.fixture(scope="module")
def by_index() -> Cases:
    return Cases("index")


def same(ours: np.ndarray, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("k", CUTS)
def test_cut_metrics_are_those_of_trec_eval(by_index: Cases, k: int) -> None:
    found = by_index.trec(f"recall.{k}", f"P.{k}", f"map_cut.{k}", f"success.{k}", f"ndcg_cut.{k}")
    lists, gains = by_index.view, by_index.gains
    same(Recall(k=k).of_lists(lists), found[f"recall_{k}"])
    same(Precision(k=k).of_lists(lists), found[f"P_{k}"])
    same(MAP(k=k, denominator="relevant").of_lists(lists), found[f"map_cut_{k}"])
    same(HR(k=k).of_lists(lists), found[f"success_{k}"])
    same(NDCG(k=k, gains="label").of_lists(lists, gains=gains), found[f"ndcg_cut_{k}"])
    p, r = found[f"P_{k}"], found[f"recall_{k}"]
    same(F1(k=k).of_lists(lists), np.divide(2 * p * r, p + r, out=np.zeros_like(p), where=p + r > 0))
    smaller = np.minimum(k, lists.count)
    same(Recall(k=k, denominator="min").of_lists(lists), p * k / smaller)
    same(MAP(k=k).of_lists(lists), found[f"map_cut_{k}"] * lists.count / smaller)
    same(Hit(k=k).of_lists(lists), found[f"success_{k}"])


def test_whole_list_metrics_are_those_of_trec_eval(by_index: Cases) -> None:
    found = by_index.trec("map", "recip_rank", "Rprec", "ndcg")
    lists = by_index.view
    same(MAP().of_lists(lists), found["map"])
    same(MRR().of_lists(lists), found["recip_rank"])
    same(RPrecision().of_lists(lists), found["Rprec"])
    same(NDCG(gains="label").of_lists(lists, gains=by_index.gains), found["ndcg"])
    same(MRR(k=3).of_lists(lists), np.where(lists.best <= 3, found["recip_rank"], 0))


@pytest.mark.parametrize("k", [None, 5])
def test_ndcg_is_that_of_scikit_learn(by_index: Cases, k: int | None) -> None:
    binary, exponential = [], []
    for score, label in zip(by_index.scores, by_index.labels, strict=True):
        order = np.lexsort((np.arange(len(score)), -score))
        strict = np.empty(len(score))
        strict[order] = -np.arange(len(score))
        binary.append(ndcg_score([label > 0], [strict], k=k))
        exponential.append(ndcg_score([2**label - 1], [strict], k=k))
    lists = by_index.view
    same(NDCG(k=k).of_lists(lists), np.array(binary))
    same(NDCG(k=k, gains="exponential").of_lists(lists, gains=by_index.gains), np.array(exponential))


def test_auc_is_that_of_scikit_learn_with_ties() -> None:
    cases = Cases("expected")
    sizes = np.array([len(s) for s in cases.scores])
    found = ListAUC().of_lists(cases.view, candidates=sizes)
    defined = cases.view.count < sizes
    assert np.isnan(found[~defined]).all()
    both = [(s, lab) for s, lab in zip(cases.scores, cases.labels, strict=True) if (lab == 0).any()]
    same(found[defined], np.array([roc_auc_score(label > 0, score) for score, label in both]))


def test_average_precision_is_that_of_scikit_learn(by_index: Cases) -> None:
    ours, theirs = MAP().of_lists(by_index.view), []
    for score, label in zip(by_index.scores, by_index.labels, strict=True):
        strict = np.empty(len(score))
        strict[np.lexsort((np.arange(len(score)), -score))] = -np.arange(len(score))
        theirs.append(average_precision_score(label > 0, strict))
    same(ours, np.array(theirs))


@pytest.mark.parametrize("ties", ["expected", "worst", "best", "index"])
def test_ranks_are_those_of_a_loop(ties: str) -> None:
    cases = Cases(ties)
    for score, label, ranks in zip(cases.scores, cases.labels, cases.ranks, strict=True):
        slow = []
        for i in np.flatnonzero(label):
            above, equal = sum(score > score[i]), sum(score == score[i])
            among = {"expected": (equal - 1) / 2, "worst": equal - 1, "best": 0, "index": sum((score == score[i])[:i])}
            slow.append(1 + above + among[ties])
        assert ranks.tolist() == sorted(slow)


def test_values_by_hand() -> None:
    lists = view([[1], [2], [3.5], [10], [10.5]])
    assert HR(k=10).of_lists(lists).tolist() == [1, 1, 1, 1, 0]
    assert MRR().of_lists(lists).tolist() == [1, 1 / 2, 1 / 3.5, 1 / 10, 1 / 10.5]
    assert MRR(k=3).of_lists(lists).tolist() == [1, 1 / 2, 0, 0, 0]
    assert NDCG(k=2).of_lists(lists) == pytest.approx([1, 1 / np.log2(3), 0, 0, 0])
    two = view([[1.5, 1.5], [1, 4]])  # two relevant items that tie for the first two places
    assert MAP().of_lists(two) == pytest.approx([1, (1 + 2 / 4) / 2])
    assert RPrecision().of_lists(two).tolist() == [1, 0.5]
    assert ListAUC().of_lists(two, candidates=np.array([2, 4]))[1] == pytest.approx(0.5)


def test_names_tell_the_cut_off() -> None:
    made = (HR(), HR(k=5), NDCG(), NDCG(k=10), MRR(), Recall(k=20), MAP(), F1())
    assert [m.name for m in made] == ["hr@10", "hr@5", "ndcg", "ndcg@10", "mrr", "recall@20", "map", "f1@10"]


@pytest.mark.parametrize("metric", [HR(), MRR(), NDCG(), NDCG(k=10), Recall(), Precision(), MAP(), RPrecision(), F1()])
@pytest.mark.parametrize("rank", [np.nan, 0.5, -np.inf])
def test_an_impossible_rank_is_refused(metric, rank: float) -> None:
    with pytest.raises(DataError, match="1 of 2"):
        metric.of_lists(view([[1.0], [rank]]))


def test_gains_are_not_negative() -> None:
    with pytest.raises(DataError, match="at least 0, got 1"):
        NDCG(gains="label").of_lists(view([[1, 2]]), gains=np.array([1.0, -1.0]))

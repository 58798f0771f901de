# ruff: noqa: D101, D103
"""fmlab's contract tests, the models beside plain implementations of their papers, and what the data sets plant."""

from pathlib import Path

import numpy as np
import torch
from fmlab_sequences.described import Described
from fmlab_sequences.din import DIN
from fmlab_sequences.sasrec import Block, SASRec
from fmlab_sequences.text_two_tower import TextTwoTower
from fmlab_sequences.walks import Walks

from fmlab.api import Dataset, Schema
from fmlab.testing import DataContract, ModelContract, tiny

SCHEMA = tiny("history").schema


class TestDIN(ModelContract):
    def make(self, schema: Schema) -> DIN:
        return DIN(schema, dim=6, hidden_units=(12,), attention_units=(8,), history_length=8, init_std=0.3)


class TestSASRec(ModelContract):
    accuracy = 0.8

    def make(self, schema: Schema) -> SASRec:
        return SASRec(schema, dim=8, history_length=8, n_blocks=1, n_heads=2, dropout=0.0, init_std=0.3)


class TestTextTwoTower(ModelContract):
    def make(self, schema: Schema) -> TextTwoTower:
        return TextTwoTower(schema, dim=4, hidden_units=8)


class TestWalks(DataContract):
    def make(self, folder: Path) -> Dataset:
        return Walks(folder, users=20, items=12, steps=6).build({}, folder)

    def test_the_next_item_is_near_the_last(self, dataset: Dataset) -> None:
        place = np.array([int(key) for key in dataset.keys["item"]])[np.asarray(dataset.item)].reshape(20, 6)
        assert set(np.unique(np.diff(place, axis=1) % 12)) == {1, 2}


class TestLog(DataContract):
    def make(self, folder: Path) -> Dataset:
        return Walks(folder, users=20, items=12, steps=6, labeled=True, log=True).build({}, folder)

    def test_the_log_holds_the_items_before(self, dataset: Dataset) -> None:
        first = dataset.schema.ids_of(dataset.schema.sequences[0]).start
        liked = np.flatnonzero(np.asarray(dataset.label) == 1)
        for row, before in zip(liked[1:6], liked[:5], strict=True):
            if dataset.user[row] == dataset.user[before]:
                assert dataset.sequences["before"][row][-1] == first + 1 + dataset.item[before]


class TestDescribed(DataContract):
    def make(self, folder: Path) -> Dataset:
        return Described(folder, users=20, items=40, positives=5).build({}, folder)


def test_the_interest_of_din_is_that_of_a_loop() -> None:
    torch.manual_seed(0)
    model = DIN(SCHEMA, dim=5, attention_units=(7,)).double()
    past, item = torch.randn(3, 4, 5).double(), torch.randn(3, 5).double()
    mask = torch.tensor([[False, True, True, True], [True] * 4, [False] * 4])
    linear, slope, last = model.attention[0], model.attention[1], model.attention[2]
    expected = torch.zeros(3, 5).double()
    for b in range(3):
        for j in range(4):
            if mask[b, j]:
                h, x = past[b, j], item[b]
                z = linear.weight @ torch.cat([h, x, h - x, h * x]) + linear.bias
                z = torch.where(z > 0, z, slope.weight * z)
                expected[b] += (last.weight @ z + last.bias) * h
    torch.testing.assert_close(model.interest(past, mask, item), expected)


def test_a_block_of_sasrec_is_that_of_multihead_attention() -> None:
    torch.manual_seed(0)
    block, x = Block(6, 2, 0.0).double(), torch.randn(3, 5, 6).double()
    mask = torch.tensor([[False, False, True, True, True], [True] * 5, [False] * 4 + [True]])
    other = torch.nn.MultiheadAttention(6, 2, batch_first=True).double()
    with torch.no_grad():
        other.in_proj_weight.copy_(torch.cat([p.weight for p in (block.query, block.key, block.value)]))
        other.in_proj_bias.copy_(torch.cat([p.bias for p in (block.query, block.key, block.value)]))
        other.out_proj.weight.copy_(torch.eye(6))
        other.out_proj.bias.zero_()
    y = block.norm_attention(x)
    found = block(x, mask)
    for b in range(3):
        own = mask[b].nonzero().squeeze(1)  # padding is left out altogether
        part = y[b : b + 1, own]
        later = torch.ones(len(own), len(own), dtype=torch.bool).triu(1)
        attended = x[b, own] + other(part, part, part, attn_mask=later, need_weights=False)[0][0]
        hidden = torch.relu(block.norm_forward(attended) @ block.wide.weight.T + block.wide.bias)
        expected = attended + hidden @ block.narrow.weight.T + block.narrow.bias
        torch.testing.assert_close(found[b, own], expected)


def test_sasrec_sees_no_later_item() -> None:
    torch.manual_seed(0)
    model = SASRec(SCHEMA, dim=8, history_length=6, dropout=0.0).double().eval()
    past, mask = torch.randn(2, 6, 8).double(), torch.ones(2, 6, dtype=torch.bool)
    before = model.states(past, mask)
    past[:, 4:] = 0
    torch.testing.assert_close(model.states(past, mask)[:, :4], before[:, :4])
